"""What a person changed in the masks, and how it survives a crash."""
