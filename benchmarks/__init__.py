"""Speed as ratios with a correctness gate, and the quality of the starter model."""
