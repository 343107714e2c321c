"""A small CT and label maps as files, and what a refusal looks like."""

from __future__ import annotations

import subprocess
import sys

import nibabel
import numpy as np

SHAPE = (17, 34, 42)
SPACING = (4.0, 2.5, 2.0)


def affine_of(spacing=SPACING, origin=(31.0, -52.0, 17.0)):
    """Return a NIfTI affine: x runs to the patient's left, z upwards."""
    affine = np.diag([-spacing[2], spacing[1], spacing[0], 1.0])
    affine[:3, 3] = origin
    return affine


def write_nifti(path, zyx, affine=None):
    image = nibabel.Nifti1Image(
        zyx.transpose(2, 1, 0), affine_of() if affine is None else affine
    )
    nibabel.save(image, path)
    return path


def phantom_labels():
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:13, 8:25, 6:24] = 1
    labels[6:9, 11:17, 9:16] = 2
    labels[10:12, 19:23, 18:22] = 2
    return labels


def phantom_ct():
    """Air, a body of fat, a liver of 100 HU off centre with tumours of 190 HU."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[1:-1, 3:-3, 3:-3] = -90
    labels = phantom_labels()
    hu[labels == 1] = 100
    hu[labels == 2] = 190
    return hu


def refused(capsys):
    """Return stderr of a refusal after checking that it reads like one."""
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("Error: ")
    assert "Traceback" not in output.err
    return output.err


def run_process(*words, **options):
    command = [sys.executable, "-m", "napari_liverseg.cli", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, **options
    )
