"""A channel is liver or tumour only where its name leaves no doubt."""

import pytest

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.channels import Channels, choose, recognise


def _numbered(*names):
    return dict(enumerate(names))


@pytest.mark.parametrize(
    "name",
    [
        "liver",
        "Liver",
        "LIVER",
        "whole liver",
        "liver_parenchyma",
        "HealthyLiver",
        "liver-without-tumour",
        "non_tumor_liver",
        "liver + tumour",
        "liver and lesions",
        "liver_including_tumors",
        "LiverTissue",
        "liver without liver tumours",
    ],
)
def test_names_that_mean_liver(name):
    assert recognise(_numbered("background", name)) == Channels((1,), ())


@pytest.mark.parametrize(
    "name",
    [
        "tumour",
        "tumor",
        "Cancer",
        "lesion",
        "lesions",
        "liver_lesion",
        "LiverTumor",
        "hepatic-lesions",
        "tumours of the liver",
        "hcc",
        "malignant liver tumour",
        "liver metastases",
    ],
)
def test_names_that_mean_a_tumour_of_the_liver(name):
    found = recognise(_numbered("background", "liver", name))
    assert found == Channels((1,), (2,))


@pytest.mark.parametrize(
    "name",
    [
        "liver_vessels",
        "hepatic vessel",
        "liver_cyst",
        "liver tumour vessel",
        "portal_vein_and_splenic_vein",
        "kidney_tumor",
        "lung cancer",
        "pancreatic lesion",
        "liver_r",
        "no liver",
        "hepatic",
        "peliver",
        "liver_segment_3",
        "benign lesion",
        "liver box",
        "non-liver tumour",
        "tumour without the liver",
    ],
)
def test_names_that_mean_neither(name):
    assert recognise(_numbered("background", "liver", name)) == Channels((1,), ())
    with pytest.raises(ModelError, match=r"called liver|unnamed organ"):
        recognise(_numbered("background", name))


def test_a_region_and_a_label_may_both_be_liver():
    assert recognise({0: "liver", 1: "tumour"}) == Channels((0,), (1,))
    names = _numbered("background", "spleen", "kidney_right", "liver", "liver_tumor")
    assert recognise(names) == Channels((3,), (4,))


@pytest.mark.parametrize("pattern", ["liver_segment_{}", "LiverSegment{}"])
def test_eight_segments_are_the_liver_and_seven_are_not(pattern):
    segments = [pattern.format(i) for i in range(1, 9)]
    found = recognise(_numbered("background", *segments, "liver_vessels"))
    assert found == Channels(tuple(range(1, 9)), ())
    with pytest.raises(ModelError, match="called liver"):
        recognise(_numbered("background", *segments[:-1]))


def test_a_split_fourth_segment_is_still_the_fourth():
    numbers = ["1", "2", "3", "4a", "4b", "5", "6", "7", "8"]
    names = _numbered("background", *(f"liver_segment_{n}" for n in numbers))
    assert recognise(names).liver == tuple(range(1, 10))


def test_a_nameless_tumour_beside_another_organ_is_refused():
    with pytest.raises(ModelError, match="'tumor' does not say whose"):
        recognise(_numbered("background", "liver", "pancreas", "tumor"))
    beside = _numbered("background", "liver", "tumor", "liver_vessels")
    assert recognise(beside).tumour == (2,)


def test_a_model_of_tumours_alone_counts_where_they_are_said_to_be_the_livers():
    assert recognise(_numbered("background", "liver_lesions")) == Channels((), (1,))
    with pytest.raises(ModelError, match="unnamed organ: background, tumor"):
        recognise(_numbered("background", "tumor"))
    names = _numbered("background", "vessel", "tumor")
    assert choose(names, [], ["tumor"]) == Channels((), (2,))
    with pytest.raises(ModelError, match="no channel"):
        choose(names, [])


def test_a_refusal_lists_names_but_not_a_hundred():
    names = _numbered("background", *(f"organ{i}" for i in range(200)))
    with pytest.raises(ModelError, match="organ3") as refusal:
        recognise(names)
    assert len(str(refusal.value)) < 500


def test_a_user_names_channels_by_the_makers_names():
    names = _numbered("background", "Leber", "Herd", "Milz")
    assert choose(names, ["Leber"], ["Herd"]) == Channels((1,), (2,))
    assert choose(names, ["Leber"]).tumour == ()
    shared = _numbered("background", "Leber", "Herd", "Herd")
    assert choose(shared, ["Leber"], ["Herd"]) == Channels((1,), (2, 3))
    for liver, tumour in ([["leber"], []], [[], []], [["Leber"], ["Leber"]]):
        with pytest.raises(ModelError) as refusal:
            choose(names, liver, tumour)
        assert "Herd" in refusal.value.next_step
