"""From volume to probabilities to masks."""
