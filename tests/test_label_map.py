"""Label maps are matched by place, refused in words, and exported proven."""

import os
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from dicom_factory import Style, write_series
from io_cases import GRID, SHAPE, ct, oblique, real, turned, world
from napari_liverseg.core.errors import (
    CaseError,
    ExportError,
    GeometryMismatchError,
)
from napari_liverseg.core.geometry import Geometry, as_matrix
from napari_liverseg.core.segmentation import Segmentation
from napari_liverseg.io.grid import to_image
from napari_liverseg.io.label_map import read_label_map, write_label_map
from napari_liverseg.io.open import open_ct
from napari_liverseg.io.segment_names import meaning, segment_names


def labels():
    array = np.zeros(SHAPE, np.uint8)
    array[1:6, 5:18, 4:17] = 1
    array[2:4, 6:9, 11:15] = 2
    return array


def save(path, array, grid=GRID):
    sitk.WriteImage(to_image(array, grid), str(path), useCompression=True)
    return path


@pytest.fixture(params=["straight", "turned", "oblique", "dicom", "tilted"])
def volume(request, tmp_path):
    if request.param in ("dicom", "tilted"):
        lean = 0.4 if request.param == "tilted" else 0.0
        stored, grid = turned(ct(), oblique(), (0, 2, 1), (True, False, True))
        write_series(tmp_path / "s", stored, grid, Style(lean_mm=lean))
        return open_ct(tmp_path / "s", decisions=["resample"])
    grid = oblique() if request.param == "oblique" else GRID
    stored = (ct(), grid)
    if request.param != "straight":
        stored = turned(ct(), grid, (2, 0, 1), (True, False, True))
    return open_ct(save(tmp_path / "ct.nii.gz", *stored))


def marked(volume):
    array = np.zeros(volume.hu.shape, np.uint8)
    array[1:5, 5:15, 4:13] = 1
    array[2:4, 6:9, 7:12] = 2
    return Segmentation(array, volume.geometry)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_an_export_lies_on_the_source_grid_and_reads_back(tmp_path, volume, ending):
    segmentation = marked(volume)
    path = write_label_map(tmp_path / f"out{ending}", segmentation, volume)
    image = sitk.ReadImage(str(path))
    assert image.GetPixelID() == sitk.sitkUInt8
    source = volume.source
    assert image.GetSize() == source.shape[::-1]
    assert image.GetSpacing() == pytest.approx(source.spacing_mm[::-1], rel=1e-5)
    assert image.GetOrigin() == pytest.approx(source.origin_mm[::-1], rel=1e-5)
    direction = np.asarray(source.direction)[::-1, ::-1].ravel()
    assert image.GetDirection() == pytest.approx(direction, abs=1e-5)
    back = read_label_map(path, volume)
    np.testing.assert_array_equal(back.labels, segmentation.labels)
    assert back.geometry == volume.geometry
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("source", [".nrrd", ".mha", ".nii"])
def test_a_ct_whose_directions_are_rounded_can_be_exported(tmp_path, source, ending):
    exact = oblique(degrees=13.0)
    grid = replace(exact, direction=as_matrix(np.round(np.asarray(exact.direction), 4)))
    path = tmp_path / f"ct{source}"
    if source == ".nii":
        affine = (
            np.diag([-1.0, -1, 1, 1]) @ grid.affine()[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
        )
        nib.save(nib.Nifti1Image(ct().T, affine), path)
    else:
        sitk.WriteImage(to_image(ct(), grid), path)
    opened = open_ct(path)
    np.testing.assert_allclose(world(opened.geometry), world(grid), atol=0.01)
    wanted = Segmentation((opened.hu > 50).astype(np.uint8), opened.geometry)
    written = write_label_map(tmp_path / f"labels{ending}", wanted, opened)
    back = read_label_map(written, opened)
    np.testing.assert_array_equal(back.labels, wanted.labels)


def test_both_nifti_transforms_are_right(tmp_path, volume):
    path = write_label_map(tmp_path / "out.nii.gz", marked(volume), volume)
    header = nib.load(path).header
    qform, qcode = header.get_qform(coded=True)
    sform, scode = header.get_sform(coded=True)
    assert qcode > 0
    assert scode > 0
    np.testing.assert_allclose(qform, sform, atol=1e-4)


def test_a_voxel_lands_where_it_was_marked(tmp_path):
    stored, grid = turned(ct(), oblique(), (2, 0, 1), (True, False, True))
    volume = open_ct(save(tmp_path / "ct.nrrd", stored, grid))
    array = np.zeros(SHAPE, np.uint8)
    array[5, 7, 3] = 2
    path = write_label_map(
        tmp_path / "out.nrrd", Segmentation(array, volume.geometry), volume
    )
    image = sitk.ReadImage(str(path))
    place = (volume.geometry.affine() @ [5, 7, 3, 1])[:3]
    index = image.TransformPhysicalPointToIndex([float(v) for v in place[::-1]])
    assert image[index] == 2
    assert sitk.GetArrayFromImage(image).sum() == 2


def test_labels_match_by_place_not_by_axis_order(tmp_path):
    volume = open_ct(save(tmp_path / "ct.nii.gz", ct()))
    stored, grid = turned(labels(), GRID, (1, 2, 0), (True, True, False))
    path = save(tmp_path / "truth.nrrd", stored, grid)
    np.testing.assert_array_equal(read_label_map(path, volume).labels, labels())
    alone = read_label_map(path, None)
    np.testing.assert_array_equal(alone.labels, labels())
    assert alone.geometry.matches(GRID)


def test_another_grid_is_refused_with_both_printed(tmp_path):
    volume = open_ct(save(tmp_path / "ct.nii.gz", ct()))
    moved = Geometry(SHAPE, GRID.spacing_mm, (-31.5, 12.25, -7.70))
    path = save(tmp_path / "truth.nii.gz", labels(), moved)
    with pytest.raises(GeometryMismatchError) as error:
        read_label_map(path, volume)
    assert str(volume.geometry) in str(error.value)
    assert "-7.70" in str(error.value)


def test_resampling_on_request_takes_the_nearest(tmp_path):
    volume = open_ct(save(tmp_path / "ct.nii.gz", ct()))
    fine = Geometry((14, 24, 20), (1.25, 0.8, 0.7), (-32.125, 12.25, -7.75))
    path = save(tmp_path / "truth.nii.gz", np.repeat(labels(), 2, axis=0), fine)
    segmentation = read_label_map(path, volume, resample=True)
    np.testing.assert_array_equal(segmentation.labels, labels())


def test_whole_floats_pass_and_fractions_do_not(tmp_path):
    volume = open_ct(save(tmp_path / "ct.nii.gz", ct()))
    path = save(tmp_path / "f.nii.gz", labels().astype(np.float32))
    np.testing.assert_array_equal(read_label_map(path, volume).labels, labels())
    path = save(tmp_path / "p.nii.gz", labels() * np.float32(0.3))
    with pytest.raises(CaseError, match="fractions"):
        read_label_map(path, volume)


def test_unknown_values_are_listed_or_mapped(tmp_path):
    path = save(tmp_path / "t.nii.gz", labels().astype(np.int16) * 5)
    with pytest.raises(CaseError, match="values 0, 5, 10; expected 0, 1 and 2"):
        read_label_map(path, None)
    mapped = read_label_map(path, None, values={5: 1, 10: 2})
    np.testing.assert_array_equal(mapped.labels, labels())
    assert read_label_map(path, None, values={5: 1}).tumour_ml == 0


def test_files_that_are_no_label_maps_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("no")
    with pytest.raises(CaseError, match="no label map"):
        read_label_map(tmp_path / "a.txt", None)
    with pytest.raises(CaseError, match="does not exist"):
        read_label_map(tmp_path / "a.nii", None)


def test_an_export_never_overwrites_in_silence(tmp_path, volume):
    path = tmp_path / "out.nii.gz"
    path.write_bytes(b"precious")
    with pytest.raises(ExportError, match="exists already"):
        write_label_map(path, marked(volume), volume)
    assert path.read_bytes() == b"precious"
    write_label_map(path, marked(volume), volume, overwrite=True)
    assert read_label_map(path, volume).liver_ml > 0


def test_an_export_never_replaces_a_ct(tmp_path):
    path = save(tmp_path / "ct.nii.gz", ct())
    volume, before = open_ct(path), path.read_bytes()
    with pytest.raises(ExportError, match="is no label map and was left"):
        write_label_map(path, marked(volume), volume, overwrite=True)
    assert path.read_bytes() == before
    scattered = np.zeros(volume.hu.shape, np.uint8)
    scattered[::2, ::3, ::3] = 1
    for held in (np.zeros_like(scattered), scattered, labels() * np.uint8(40)):
        out = save(tmp_path / "out.nii.gz", held, volume.source)
        write_label_map(out, marked(volume), volume, overwrite=True)
        assert read_label_map(out, volume).liver_ml > 0


def test_an_export_that_fails_leaves_nothing(tmp_path):
    volume = open_ct(save(tmp_path / "ct.nii.gz", ct()))
    segmentation = Segmentation(labels(), volume.geometry)
    with pytest.raises(ExportError, match="does not exist"):
        write_label_map(tmp_path / "no" / "out.nii.gz", segmentation, volume)
    with pytest.raises(ExportError, match="no ending"):
        write_label_map(tmp_path / "out.png", segmentation, volume)
    other = Segmentation(labels(), oblique())
    with pytest.raises(GeometryMismatchError):
        write_label_map(tmp_path / "out.nii.gz", other, volume)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct.nii.gz"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    volume = open_ct(save(tmp_path / "ct.nii.gz", ct()))
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr("secrets.token_hex", lambda _: "full")
    (folder / ".full.part.nii").symlink_to("/dev/full")
    with pytest.raises(ExportError, match="could not be written"):
        write_label_map(
            folder / "out.nii", Segmentation(labels(), volume.geometry), volume
        )
    assert list(folder.iterdir()) == []


def test_real_labels_lie_on_their_ct():
    volume = open_ct(real("abdomen-dicom-j2k"))
    path = real("abdomen-dicom-j2k.labels.nii.gz")
    segmentation = read_label_map(path, volume, values={5: 1})
    assert segmentation.geometry == volume.geometry
    assert segmentation.liver_ml == pytest.approx(699.44, abs=0.01)
    liver = volume.hu[segmentation.labels == 1]
    assert 60 < np.median(liver) < 160


def _named(path, **names):
    image = to_image(labels(), GRID)
    for number, (value, name) in enumerate(names.items()):
        image.SetMetaData(f"Segment{number}_LabelValue", value.removeprefix("v"))
        image.SetMetaData(f"Segment{number}_Name", name)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def test_values_that_a_header_names_otherwise_are_not_taken_as_ours(tmp_path):
    swapped = _named(tmp_path / "swapped.seg.nrrd", v1="Tumor", v2="Liver")
    with pytest.raises(CaseError, match="calls 1 'Tumor' and 2 'Liver'; expected 1"):
        read_label_map(swapped, None)
    ours = read_label_map(swapped, None, values={1: 2, 2: 1})
    assert (ours.labels == np.array([0, 2, 1])[labels()]).all()
    agreed = _named(tmp_path / "agreed.seg.nrrd", v1="liver", v2="Liver metastases")
    assert (read_label_map(agreed, None).labels == labels()).all()
    nameless = save(tmp_path / "nameless.nrrd", labels())
    assert segment_names(nameless) == {}
    assert (read_label_map(nameless, None).labels == labels()).all()


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("Liver vessels", "Liver cyst lesion", "1 'Liver vessels' and 2 'Liver cyst"),
        ("liver veins", "kidney tumor", "1 'liver veins' and 2 'kidney tumor'"),
        ("Liver", "lung metastases", "calls 2 'lung metastases'"),
    ],
)
def test_vessels_and_tumours_of_other_organs_are_not_taken_as_ours(
    tmp_path, first, second, told
):
    path = _named(tmp_path / "other.seg.nrrd", v1=first, v2=second)
    with pytest.raises(CaseError, match=told):
        read_label_map(path, None)


def test_a_liver_without_its_tumour_is_read_as_liver(tmp_path):
    path = _named(tmp_path / "m.seg.nrrd", v1="Liver without tumor", v2="LiverTumor")
    assert (read_label_map(path, None).labels == labels()).all()


@pytest.mark.parametrize(
    "name",
    [
        *("liver", "Liver", "LIVER", "whole liver", "liver_parenchyma", "Liver mask"),
        *("Liver without tumor", "healthy liver", "non-tumor liver", "liver_seg"),
        *("Liver + tumour", "liver including lesions"),
    ],
)
def test_names_of_segments_that_mean_liver(name):
    assert meaning(name) == 1


@pytest.mark.parametrize(
    "name",
    [
        *("tumor", "Tumour", "lesion", "neoplasm", "Mass", "HCC", "Liver metastases"),
        *("LiverTumor", "Liver_Tumor", "hepatic lesion", "metastatic liver tumor"),
        *("Neoplasm, Secondary", "Hepatocellular carcinoma (HCC)", "tumor_mask"),
        *("Liver tumour 1", "Lesion_2", "Tumor3", "HCC1", "TUMOR 12", "mass_01"),
    ],
)
def test_names_of_segments_that_mean_a_tumour_of_the_liver(name):
    assert meaning(name) == 2


@pytest.mark.parametrize(
    "name",
    [
        *("", "Segment_1", "1", "ribs", "hepatic", "hepatic vessel", "liver cyst"),
        *("kidney tumor", "Liver tumour vessel", "benign lesion", "tumor-free"),
        *("liver segment 3", "Liver 3", "left liver lobe", "liver box", "perilesional"),
        *("non-liver tumour", "no liver tumor", "tumour without the liver"),
    ],
)
def test_names_of_segments_that_mean_neither(name):
    assert meaning(name) is None


def test_names_of_3d_slicer_are_read():
    names = segment_names(real("slicer/Segmentation.seg.nrrd"))
    assert names[1] == "ribs"
    assert meaning("ribs") is None
