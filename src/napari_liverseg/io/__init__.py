"""How cases enter and leave disk: DICOM, NIfTI, NRRD, MHA, datasets."""
