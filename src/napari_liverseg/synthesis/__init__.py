"""Procedural abdomens with exact truth, for tests, the demo and training."""
