"""One case or many, here or on other machines: from a CT to files that are proven."""
