"""A batch sees that voxels changed, also those that lie beside their header."""

from __future__ import annotations

import os

import numpy as np
import pytest
import SimpleITK as sitk

from napari_liverseg.batch.sight import files_of, sight_of


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("voxels")


def header(folder, name, *lines):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def seen(path):
    return [name for name, _ in files_of(path)]


@pytest.mark.parametrize(
    ("name", "data"), [("ct.mhd", "ct.raw"), ("ct.nhdr", "ct.raw")]
)
def test_voxels_that_change_beside_their_header_are_seen(tmp_path, name, data):
    """As ITK writes them: the header is the same, whatever the voxels are."""
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16))
    sitk.WriteImage(image, str(tmp_path / name))
    before = sight_of(tmp_path / name)
    assert seen(tmp_path / name) == [name, data]
    os.utime(tmp_path / data, (1_000_000, 1_000_000))
    assert sight_of(tmp_path / name) != before
    (tmp_path / data).unlink()
    assert sight_of(tmp_path / name) != before


@pytest.mark.parametrize(
    ("name", "lines", "found"),
    [
        ("a.mhd", ["NDims = 3", "ElementDataFile = my scan.raw"], ["my scan.raw"]),
        ("a.mhd", ["ElementDataFile = in/1.raw"], ["in/1.raw"]),
        ("a.mhd", ["ElementDataFile = LIST", "s2.raw", "s1.raw"], ["s2.raw", "s1.raw"]),
        ("a.mhd", ["ElementDataFile = s%d.raw 1 3 2"], ["s1.raw", "s3.raw"]),
        ("a.mhd", ["ElementDataFile = s%d.raw 1 2"], ["s1.raw", "s2.raw"]),
        ("a.mhd", ["ElementDataFile = LOCAL"], []),
        ("a.mha", ["ElementDataFile = s1.raw"], ["s1.raw"]),
        ("a.nhdr", ["NRRD0004", "data file: ./s1.raw"], ["./s1.raw"]),
        ("a.nhdr", ["NRRD0004", "datafile: s%d.raw 2 3 1 2"], ["s2.raw", "s3.raw"]),
        ("a.nhdr", ["data file: LIST 2", "s1.raw", "s2.raw"], ["s1.raw", "s2.raw"]),
        ("a.nhdr", ["NRRD0004", "data file:=s1.raw", "data file: s2.raw"], ["s2.raw"]),
        ("a.nrrd", ["NRRD0004", "", "data file: s1.raw"], []),
        ("a.mhd", ["no header"], ["a.zraw"]),
        ("a.mhd", ["ElementDataFile = gone.raw"], ["a.zraw"]),
        ("a.mhd", ["ElementDataFile = LIST", "gone", "s1\0", "s1.raw"], ["s1.raw"]),
        ("a.nii", ["ElementDataFile = s1.raw"], []),
    ],
)  # fmt: skip
def test_the_files_that_a_header_names_belong_to_it(tmp_path, name, lines, found):
    touch(tmp_path, "my scan.raw", "in/1.raw", "s1.raw", "s2.raw", "s3.raw", "a.zraw")
    assert seen(header(tmp_path, name, *lines)) == [name, *found]


def test_an_image_that_is_gone_has_no_files(tmp_path):
    touch(tmp_path, "a.raw")
    assert seen(tmp_path / "a.mhd") == []
