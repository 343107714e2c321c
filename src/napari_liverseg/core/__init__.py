"""What a liver case is: geometry, volume in HU, segmentation, errors (numpy only)."""
