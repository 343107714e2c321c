"""What a liver case is: geometry, volume, segmentation, errors; no torch, no Qt."""
