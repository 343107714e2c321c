"""The same calls without a screen."""
