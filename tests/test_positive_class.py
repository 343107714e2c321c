"""Of two classes of pictures, which one is looked for."""

import pytest

from napari_liverseg.core.errors import CaseError
from napari_liverseg.training.classifier_recipe import ClassifierRecipe
from napari_liverseg.training.classifier_start import positive_class


def _found(classes, **changes):
    recipe = ClassifierRecipe(name="x", title="X", epochs=1, **changes)
    return positive_class(recipe, classes)


@pytest.mark.parametrize(
    ("classes", "positive"),
    [
        (("none", "tumour"), "tumour"),
        (("Tumour", "none"), "Tumour"),
        (("lesion", "none"), "lesion"),
        (("cancer", "normal"), "cancer"),
        (("HCC", "healthy"), "HCC"),
        (("metastasis", "no finding"), "metastasis"),
        (("tumor", "tumor-free"), "tumor"),
        (("nontumor", "tumor"), "tumor"),
        (("cyst", "tumour"), "tumour"),
        (("0", "1"), "1"),
        (("negative", "positive"), "positive"),
        (("a", "b", "none"), None),
    ],
)
def test_what_is_there_is_looked_for_and_not_its_absence(classes, positive):
    assert _found(classes) == positive


def test_where_names_do_not_tell_the_user_does():
    with pytest.raises(CaseError, match="which of benign and malignant is looked for"):
        _found(("benign", "malignant"))
    assert _found(("benign", "malignant"), positive="malignant") == "malignant"
    with pytest.raises(CaseError, match="which of healthy and normal"):
        _found(("healthy", "normal"))
