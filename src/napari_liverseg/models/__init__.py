"""What a network expects and where its weights come from."""
