"""What is trained on: found in every layout, checked whole, split by patient."""

import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from dicom_factory import Style, write_series
from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.progress import ignore_progress
from napari_liverseg.inference.prepare import prepare
from napari_liverseg.inference.preprocessing import normalise
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.labelled_set import LabelledCase, find_labelled
from napari_liverseg.io.open import open_ct
from napari_liverseg.measure.agreement import count_voxels, measure_agreement
from napari_liverseg.models.spec import read_spec
from napari_liverseg.training.case_slices import cut_slices
from napari_liverseg.training.folds import draw_folds, keep_folds
from napari_liverseg.training.label_values import label_values
from napari_liverseg.training.prepared_case import Reading, prepare_case
from napari_liverseg.training.segmentation_recipe import Names
from training_case import (
    make_set,
    run_tiny,
    tiny_recipe,
    write_datalist,
    write_dicom_set,
    write_turned,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


def pair(data, case):
    return {
        "image": f"imagesTr/{case}_0000.nii.gz",
        "label": f"labelsTr/{case}.nii.gz",
    }


IDS = ("liver_P001_01", "liver_P001_02", "liver_P002_01", "liver_P003_01")


def test_the_retraining_set_is_read_with_its_patients(data):
    found = find_labelled(data)
    assert [case.name for case in found.cases] == list(IDS)
    patients = [case.patient for case in found.cases]
    assert patients == ["liver_P001", "liver_P001", "liver_P002", "liver_P003"]
    assert found.labels == {"background": 0, "liver": 1, "tumour": 2}


def test_a_datalist_of_the_decathlon_is_read(data):
    labels = {"0": "background", "1": "liver", "2": "cancer"}
    items = [{**pair(data, case), "patient": case[-5:]} for case in IDS]
    path = write_datalist(data / "list.json", items, labels=labels)
    found = find_labelled(path)
    path.unlink()
    patients = [case.patient for case in found.cases]
    assert patients == ["01_01", "01_02", "02_01", "03_01"]
    assert found.cases[0].image == data / "imagesTr" / "liver_P001_01_0000.nii.gz"
    assert label_values(found.labels, Names()) == {1: 1, 2: 2}


def test_a_datalist_names_its_patients_as_spreadsheets_do(tmp_path):
    items = [{"image": "a.nii", "label": "b.nii"} for _ in range(4)]
    for item, named in zip(
        items, ({"Patient": "p1 "}, {" subject": "p1"}), strict=False
    ):
        item |= named
    items[2] |= {"patient": " ", "subject_id": 7}
    listed = write_datalist(tmp_path / "list.json", items)
    found = {case.patient for case in find_labelled(listed).cases}
    assert found == {"p1", "7", None}
    listed.write_text("\ufeff" + listed.read_text())  # as Windows' editors do
    assert {case.patient for case in find_labelled(listed).cases} == found


@pytest.mark.parametrize(
    "field",
    ["PatientID", "Patient ID", "patientId", "Patient-ID", "subjectID", "SUBJECT_ID"],
)
def test_a_datalist_may_spell_its_patients_in_any_way(tmp_path, field):
    items = [
        {"image": f"{n}.nii", "label": "b.nii", field: f"p{n // 2}"} for n in range(8)
    ]
    items[7] |= {field: " ", "patient_id": "p3"}
    found = find_labelled(write_datalist(tmp_path / "list.json", items))
    named = [case.patient for case in found.cases]
    assert named == ["p0", "p0", "p1", "p1", "p2", "p2", "p3", "p3"]


def test_every_incomplete_case_of_a_datalist_is_named_at_once(tmp_path):
    whole = {"image": "a.nii", "label": "b.nii"}
    items = [whole, {"image": "a.nii"}, whole, {"image": "", "label": "b.nii"}]
    with pytest.raises(CaseError, match=r"one label for case 2, case 4\."):
        find_labelled(write_datalist(tmp_path / "list.json", items))
    with pytest.raises(CaseError, match=r"case 9, case 10 and 3 more\."):
        find_labelled(write_datalist(tmp_path / "list.json", [{}] * 13))


def test_a_datalist_of_our_own_set_knows_its_patients(data):
    items = [pair(data, case) for case in IDS]
    found = find_labelled(write_datalist(data / "list.json", items))
    patients = [case.patient for case in found.cases]
    assert patients == ["liver_P001", "liver_P001", "liver_P002", "liver_P003"]


def test_files_of_one_name_stay_apart(tmp_path):
    items = [{"image": f"p{n}/ct.nii.gz", "label": f"p{n}/seg.nii.gz"} for n in (1, 2)]
    found = find_labelled(write_datalist(tmp_path / "list.json", items))
    assert len({case.name for case in found.cases}) == 2
    assert {case.patient for case in found.cases} == {None}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON"),
        ('{"training": []}', "no labelled case"),
        ('{"training": [{"image": ["a", "b"], "label": "c"}]}', "one image and one"),
        ('{"name": "x"}', "no training cases"),
    ],
)
def test_what_is_no_list_of_cases_is_refused(tmp_path, content, said):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(CaseError, match=said):
        find_labelled(tmp_path)


def test_organs_are_named_by_the_recipe_or_recognised():
    labels = {"background": 0, "Spleen": 1, "cyst": 2, "liver": 3}
    assert label_values(labels, Names(organ=("spleen",), lesion=("cyst",))) == {
        1: 1,
        2: 2,
    }
    assert label_values(labels, Names()) == {3: 1}
    with pytest.raises(CaseError, match="'kidney'"):
        label_values(labels, Names(organ=("kidney",)))
    with pytest.raises(CaseError, match="do not tell the liver"):
        label_values({"background": 0, "spleen": 1}, Names())
    left_out = {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}
    with pytest.raises(CaseError, match="leaves voxels out"):
        label_values(left_out, Names())


def test_one_report_names_every_bad_case_before_anything_is_trained(data, tmp_path):
    bad = shutil.copytree(data, tmp_path / "bad")
    (bad / "labelsTr" / f"{IDS[0]}.nii.gz").unlink()
    label = bad / "labelsTr" / f"{IDS[1]}.nii.gz"
    moved = nib.load(label)
    affine = moved.affine.copy()
    affine[0, 3] += 40
    nib.save(nib.Nifti1Image(np.asarray(moved.dataobj), affine), label)
    label = bad / "labelsTr" / f"{IDS[2]}.nii.gz"
    image = nib.load(label)
    values = np.asarray(image.dataobj).copy()
    values[0, 0, 0] = 7
    nib.save(nib.Nifti1Image(values, image.affine), label)
    for folder, end in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        kept = bad / folder
        shutil.copy(kept / f"{IDS[3]}{end}", kept / f"liver_P009_01{end}")
    (bad / "imagesTr" / "liver_P010_01_0000.nii.gz").write_bytes(b"no image")
    with pytest.raises(CaseError) as refusal:
        run_tiny(bad, tmp_path / "out")
    head, *lines = str(refusal.value).splitlines()
    assert head.startswith("5 of 6 cases cannot be trained on")
    reasons = {line.split(":")[0].strip(): line for line in lines}
    assert "does not exist" in reasons[IDS[0]]
    assert "another grid" in reasons[IDS[1]]
    assert "values 0, 1, 2, 7; expected 0, 1, 2" in reasons[IDS[2]]
    assert f"same CT as '{IDS[3]}'" in reasons["liver_P009_01"]
    assert "liver_P010_01" in reasons
    assert not list((tmp_path / "out").glob("fold_*"))


def test_a_ct_without_any_organ_is_a_bad_case(data, tmp_path):
    case = find_labelled(data).cases[0]
    reading = Reading({9: 1}, (0, 1, 2, 9), (18.0, 18.0, 18.0))
    with pytest.raises(CaseError, match="labels no voxel"):
        prepare_case(case, reading, tmp_path)


def test_training_sees_what_inference_sees(data, tmp_path):
    case = find_labelled(data).cases[0]
    spacing = (9.0, 14.0, 20.0)
    prepared = prepare_case(case, Reading({1: 1, 2: 2}, (0, 1, 2), spacing), tmp_path)
    volume = open_ct(case.image)
    from tiny_model import tiny_spec

    spec = tiny_spec(spacing_mm=spacing)
    seen = prepare(volume, spec.input)
    image = normalise(torch.from_numpy(np.array(prepared.hu)), spec.hu_window)
    # Kept as whole HU, of which the window has 400 for a range of 2.
    assert float((image - seen.image).abs().max()) <= 0.5 * 2 / 400 + 1e-6
    truth = read_label_map(case.label, volume)
    organ_ml = np.count_nonzero(prepared.labels) * np.prod(spacing) / 1000
    assert organ_ml == pytest.approx(truth.liver_ml, rel=0.06)
    again = prepare_case(case, Reading({1: 1, 2: 2}, (0, 1, 2), spacing), tmp_path)
    counts = count_voxels(np.array(again.labels) > 0, np.array(prepared.labels) > 0)
    assert measure_agreement(counts).dice == 1


def cases(*patients):
    return [
        LabelledCase(f"case{n}", None, None, patient)
        for n, patient in enumerate(patients)
    ]


def test_no_patient_is_on_both_sides_of_a_fold():
    many = cases("a", "b", "a", "c", "d", "d", "d", "e", "f")
    folds = draw_folds(many, 3, seed=1)
    held = [name for names in folds.held_out for name in names]
    assert sorted(held) == sorted(case.name for case in many)
    patient_of = {case.name: case.patient for case in many}
    for number, names in enumerate(folds.held_out):
        inside = {patient_of[name] for name in names}
        assert inside.isdisjoint(patient_of[name] for name in folds.train(number))
    assert {len(names) for names in folds.held_out} == {3}
    assert draw_folds(many, 3, seed=1) == folds
    assert draw_folds(many, 3, seed=2) != folds


def test_two_cts_of_one_dicom_patient_are_in_one_fold(tmp_path):
    path = write_dicom_set(tmp_path / "set", ("p1", "p1", "p2"))
    short = {"epochs": 1, "steps_per_epoch": 1, "folds": 2}
    run_tiny(path, tmp_path / "out", **short)
    folds = json.loads((tmp_path / "out" / "folds.json").read_text())
    assert folds["patients"] == 2
    assert sorted(folds["held_out"]) == [["ct0", "ct1"], ["ct2"]]
    assert "name none" not in folds["note"]
    card = read_spec(tmp_path / "out" / "model").card
    assert "3 labelled CTs of 2 patients" in card


def test_computers_that_share_a_cache_know_the_same_patients(tmp_path, monkeypatch):
    found = find_labelled(write_dicom_set(tmp_path / "set", ("p1", "p1", "p2", "p3")))
    reading = Reading({1: 1, 2: 2}, (0, 1, 2), (18.0, 18.0, 18.0))

    def prepared(home, some):
        monkeypatch.setenv("NAPARI_LIVERSEG_DATA", str(tmp_path / home))
        return [prepare_case(c, reading, tmp_path / "cache").case for c in some]

    prepared("first", found.cases[:1])
    here = prepared("second", found.cases)
    assert here[0].owner == here[1].owner
    # Keys differ on each, and must not decide who is held out.
    one, other = cases("a", "b", "c", "d", "d"), cases("z", "y", "x", "w", "w")
    for seed in range(9):
        assert draw_folds(one, 2, seed) == draw_folds(other, 2, seed)


def test_a_patient_of_list_and_header_is_on_one_side_of_a_fold(tmp_path, monkeypatch):
    listed = write_dicom_set(tmp_path / "set", ("p1", "p1", "p2"))
    content = json.loads(listed.read_text())
    content["training"][0]["patient"] = "anna"
    listed.write_text(json.dumps(content))
    found = find_labelled(listed).cases
    reading = Reading({1: 1, 2: 2}, (0, 1, 2), (18.0, 18.0, 18.0))
    for home in ("first", "second"):  # computers that share a cache
        monkeypatch.setenv("NAPARI_LIVERSEG_DATA", str(tmp_path / home))
        some = found[:1] if home == "first" else found
        known = [prepare_case(c, reading, tmp_path / "cache").case for c in some]
    folds = draw_folds(known, 2, seed=1)
    assert folds.patients == 2
    assert sorted(folds.held_out) == [("ct0", "ct1"), ("ct2",)]
    path = tmp_path / "folds.json"
    keep_folds(path, found, 2, seed=4)  # as one patient's were not known as such
    apart = json.loads(path.read_text())
    apart["held_out"] = [["ct0", "ct2"], ["ct1"]]
    path.write_text(json.dumps(apart))
    with pytest.raises(CaseError, match="tested on a patient that it learnt from"):
        keep_folds(path, known, 2, seed=4)


def linked(*names):
    """Return cases by the patients that list and header name."""
    return [
        LabelledCase(f"case{n}", None, None, listed or header, header)
        for n, (listed, header) in enumerate(names)
    ]


def test_names_and_headers_unite_patients_only_where_a_header_stands_alone():
    chain = linked(("a", "k"), ("b", "m"), (None, "k"), ("a", "m"), (None, "m"))
    other = linked(*[(None, None)] * 7)[5:]
    assert draw_folds([*chain, *other], 3, seed=1).patients == 3
    assert draw_folds([*chain[::-1], *other], 3, seed=1).patients == 3
    # One PatientID for all, as after careless removal of names: the list knows better.
    same = linked(("a", "k"), ("b", "k"), ("c", "k"))
    assert draw_folds(same, 3, seed=1).patients == 3
    with pytest.raises(CaseError, match="1 patient cannot") as refusal:
        draw_folds([*same, replace(chain[2], name="case9")], 3, seed=1)
    assert "let the list name each case's" in refusal.value.next_step


@pytest.mark.parametrize(
    "known_by",
    [lambda one: (one, None), lambda one: (None, one), lambda one: (one, one and "k")],
)
def test_folds_of_one_kind_of_name_are_those_of_before(known_by):
    """As they were drawn before names and headers were held together."""
    many = linked(*map(known_by, ("a", None, "b", "a", None, "c", None)))
    assert draw_folds(many, 3, seed=1).held_out == (
        ("case0", "case3", "case4"),
        ("case2", "case5"),
        ("case1", "case6"),
    )
    assert draw_folds(many, 1, seed=4).held_out == (("case2",),)
    many = linked(*map(known_by, "abacdddef"))
    assert draw_folds(many, 3, seed=2).held_out == (
        ("case4", "case5", "case6"),
        ("case0", "case2", "case3"),
        ("case1", "case7", "case8"),
    )


def test_corrected_labels_are_other_data(data, tmp_path):
    case = find_labelled(data).cases[0]
    reading = Reading({1: 1, 2: 2}, (0, 1, 2), (18.0, 18.0, 18.0))
    before = prepare_case(case, reading, tmp_path)
    image = nib.load(case.label)
    values = np.asarray(image.dataobj).copy()
    values[values == 2] = 1
    label = tmp_path / "corrected.nii.gz"
    nib.save(nib.Nifti1Image(values, image.affine), label)
    after = prepare_case(replace(case, label=label), reading, tmp_path)
    assert after.series_key == before.series_key
    assert after.label_key != before.label_key
    same = prepare_case(case, replace(reading, spacing_mm=(20.0,) * 3), tmp_path)
    assert same.label_key == before.label_key


def test_a_ct_in_dicom_that_changed_is_prepared_anew(tmp_path):
    case = find_labelled(write_dicom_set(tmp_path / "set", ("p1",))).cases[0]
    reading = Reading({1: 1, 2: 2}, (0, 1, 2), (18.0, 18.0, 18.0))
    before = prepare_case(case, reading, tmp_path / "cache")
    volume = open_ct(case.image)
    style = Style(series_uid="1.2.3.0", patient_id="p1")
    write_series(case.image, volume.hu + 50, volume.geometry, style)
    after = prepare_case(case, reading, tmp_path / "cache")
    assert np.median(after.hu - before.hu) == 50
    assert after.series_key == before.series_key
    assert after.ct_key != before.ct_key


def test_one_ct_in_two_formats_is_one_ct(tmp_path):
    listed = write_dicom_set(tmp_path / "set", ("p1", "p2"))
    first, second = find_labelled(listed).cases
    copy = write_turned(first.image, tmp_path / "set" / "copy.nii.gz")
    assert open_ct(copy).source.shape != open_ct(first.image).source.shape
    items = [
        {"image": str(image), "label": str(label)}
        for image, label in (
            (first.image, first.label),
            (second.image, second.label),
            (copy, first.label),
        )
    ]
    labels = {"background": 0, "liver": 1, "tumour": 2}
    listed = write_datalist(tmp_path / "list.json", items, labels=labels)
    reason = "1 of 3 cases .*\n  ct0: It is the same CT as 'copy'"
    with pytest.raises(CaseError, match=reason):
        run_tiny(listed, tmp_path / "out")
    with pytest.raises(CaseError, match=reason):
        cut_slices(listed, tmp_path / "slices", (-160.0, 240.0), ignore_progress)


def test_unknown_patients_are_said_plainly():
    assert "No case names its patient" in draw_folds(cases(*[None] * 4), 2, 1).note
    note = draw_folds(cases("a", None, "b"), 2, 1).note
    assert "1 name none" in note
    # A patient called like a case is not that case.
    assert draw_folds(cases("case1", None), 2, 1).patients == 2


def test_folds_are_kept_and_reused(tmp_path):
    many = cases(*"abcdef")
    path = tmp_path / "folds.json"
    drawn = keep_folds(path, many, 3, seed=1)
    assert keep_folds(path, many, 3, seed=99) == drawn
    assert json.loads(path.read_text())["held_out"] == [list(n) for n in drawn.held_out]
    with pytest.raises(CaseError, match="asked for are 2"):
        keep_folds(path, many, 2, seed=1)
    with pytest.raises(CaseError, match="of other cases"):
        keep_folds(path, many[1:], 3, seed=1)


def test_of_tumours_that_nobody_labelled_there_are_no_figures(tmp_path):
    own = make_set(tmp_path / "set")
    for label in (own / "labelsTr").iterdir():
        image = nib.load(label)
        liver = (np.asarray(image.dataobj) > 0).astype(np.uint8)
        nib.save(nib.Nifti1Image(liver, image.affine), label)
    listed = json.loads((own / "dataset.json").read_text())
    listed["labels"] = {"background": 0, "liver": 1}
    (own / "dataset.json").write_text(json.dumps(listed))
    run_tiny(own, tmp_path / "out", epochs=1)
    spec = read_spec(tmp_path / "out" / "model")
    assert {figure.what for figure in spec.figures} >= {"liver Dice", "liver IoU"}
    assert not any("tumour" in figure.what for figure in spec.figures)
    assert "its data labels no tumour, and teaches it to find none" in spec.notice
    rows = json.loads((tmp_path / "out" / "fold_1" / "held_out.json").read_text())
    assert {row["false_lesion_ml"] for row in rows} == {None}


def test_kept_folds_that_a_patient_would_be_on_both_sides_of_are_refused(tmp_path):
    path = tmp_path / "folds.json"
    drawn = keep_folds(path, cases(None, None, None, None), 2, seed=1)
    first, second = (names[0] for names in drawn.held_out)
    known = [
        replace(case, patient="a" if case.name in (first, second) else case.name)
        for case in cases(None, None, None, None)
    ]
    with pytest.raises(CaseError, match="tested on a patient that it learnt from"):
        keep_folds(path, known, 2, seed=1)
    together = [
        replace(case, patient="a" if case.name in drawn.held_out[0] else "b")
        for case in known
    ]
    assert keep_folds(path, together, 2, seed=1) == drawn


@pytest.mark.parametrize("held_out", [["case9"], [], [f"case{n}" for n in range(6)]])
def test_folds_that_were_broken_by_hand_are_refused(tmp_path, held_out):
    many, path = cases(*"abcdef"), tmp_path / "folds.json"
    keep_folds(path, many, 2, seed=1)
    content = json.loads(path.read_text())
    content["held_out"][0] = held_out
    path.write_text(json.dumps(content))
    with pytest.raises(CaseError, match=r"folds\.json' cannot be read"):
        keep_folds(path, many, 2, seed=1)


def test_too_few_patients_are_refused():
    with pytest.raises(CaseError, match="1 patient cannot make 2 parts") as refusal:
        draw_folds(cases("a", "a"), 1, 1)
    assert refusal.value.next_step == "Add cases of other patients."
    with pytest.raises(CaseError, match="3 patients cannot make 5"):
        draw_folds(cases("a", "b", "c"), 5, 1)


def test_bad_recipes_are_not_trained(data, tmp_path):
    with pytest.raises(ValueError, match="more than 1 together"):
        tiny_recipe(sampling={"lesion": 0.7, "organ": 0.7})
