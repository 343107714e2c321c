"""The slice classifier: it learns, is judged on patients apart, and is used again."""

import csv
import errno
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dicom_factory import write_series
from napari_liverseg.cli.app import main
from napari_liverseg.core.errors import (
    CancelledError,
    CaseError,
    DeviceError,
    ExportError,
    ModelError,
)
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.inference.picture import PictureClassifier, fitted, predict_image
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.labelled_pictures import find_pictures
from napari_liverseg.io.labelled_set import find_labelled
from napari_liverseg.io.open import open_ct
from napari_liverseg.models.backbone import (
    build_backbone,
    encoder_weights,
    resnet_weights,
)
from napari_liverseg.models.classifier import Classifier
from napari_liverseg.models.classifier_spec import (
    EncoderSpec,
    ResNetSpec,
    find_classifier,
)
from napari_liverseg.models.network import build_network
from napari_liverseg.models.resunet_spec import ResUNetSpec
from napari_liverseg.models.spec import NetworkSpec
from napari_liverseg.models.store import find_model, list_models
from napari_liverseg.training import classification
from napari_liverseg.training.case_slices import cut_slices
from napari_liverseg.training.classifier_fit import ClassifierEpoch, ClassifierFit
from napari_liverseg.training.compute import Place
from napari_liverseg.training.curves import BOARD_FOLDER
from napari_liverseg.training.picture_set import check_pictures
from napari_liverseg.training.picture_split import keep_split
from napari_liverseg.training.recipe import bundled_recipes, changed, read_recipe
from picture_case import (
    ROWS,
    TINY,
    grey,
    make_pictures,
    train_tiny,
    write_list,
    write_png,
)
from tiny_model import tiny_spec, write_random_model
from training_case import make_set, write_datalist, write_dicom_set


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("NAPARI_LIVERSEG_DATA", str(home))
        result = train_tiny(pictures, out)
        yield result, out, home


def test_it_learns_and_is_judged_on_the_test_part(trained):
    result, out, _home = trained
    spec = find_classifier(result.model)
    figures = {figure.what: figure for figure in spec.figures}
    assert figures["AUC of tumour"].value > 0.9
    assert "trained nothing" in figures["accuracy"].source
    assert "95 % interval" in figures["accuracy"].source
    at = figures["sensitivity for tumour"].source
    assert f"{spec.cut_off:.3f} chosen on the validation part" in at
    assert spec.positive == "tumour"
    assert "not for clinical use" in spec.notice
    board = EventAccumulator(str(out / "fold_1" / "tensorboard")).Reload()
    shown = [e.value for e in board.Scalars("validation_loss")]
    assert len(shown) == TINY["epochs"]
    with (out / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == TINY["epochs"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_a_split_is_of_its_pictures_and_no_others(tmp_path):
    folder = make_pictures(tmp_path / "pictures")
    data, path = find_pictures(folder), tmp_path / "split.json"
    split = keep_split(path, data, (0.2, 0.2), 1)
    assert keep_split(path, data, (0.2, 0.2), 1) == split
    assert not any(p.path.name in path.read_text() for p in data.pictures)
    moved = folder.rename(tmp_path / "elsewhere")
    assert keep_split(path, find_pictures(moved), (0.2, 0.2), 1) == split
    one = find_pictures(moved).pictures[0].path
    one.rename(one.with_name(f"zz{one.name}"))  # every number behind it moves
    with pytest.raises(CaseError, match="other pictures"):
        keep_split(path, find_pictures(moved), (0.2, 0.2), 1)


def test_curves_that_cannot_be_drawn_end_no_training(tmp_path):
    fit = object.__new__(ClassifierFit)
    fit.folder = tmp_path
    (tmp_path / BOARD_FOLDER).touch()  # where a folder should be
    fit._show(ClassifierEpoch(1, 0.5, 0.6, 0.7, 0.8, 1e-3, 2.0))
    assert (tmp_path / BOARD_FOLDER).read_bytes() == b""


def test_no_patient_is_on_two_sides(trained, pictures):
    _result, out, _home = trained
    split = json.loads((out / "fold_1" / "split.json").read_text())
    paths = sorted(map(str, pictures.rglob("*.png")))
    parts = [
        {paths[number].split("/")[-2] for number in split[part]}
        for part in ("train", "validation", "test")
    ]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 20
    assert [len(part) for part in parts] == [12, 4, 4]
    for part in ("validation", "test"):
        labels = [split["labels"][number] for number in split[part]]
        assert labels.count("tumour") == labels.count("none")


def test_the_report_stands_alone_and_names_no_file(trained):
    _result, out, _home = trained
    page = (out / "report.html").read_text()
    for text in ("ROC", "AUC", "Accuracy", "Confidence in", "cut-off", "Plotly"):
        assert text in page
    assert "p00" not in page
    assert 'src="http' not in page


def test_new_pictures_are_predicted_by_name_and_on_the_command_line(
    trained, tmp_path, monkeypatch, capsys
):
    result, _out, home = trained
    monkeypatch.setenv("NAPARI_LIVERSEG_DATA", str(home))
    rng = np.random.default_rng(99)
    spot = write_png(tmp_path / "spot.png", grey(rng, has_spot=True))
    plain = write_png(tmp_path / "plain.png", grey(rng, has_spot=False))
    assert predict_image(result.name, spot, "cpu").label == "tumour"
    said = predict_image(result.name, plain, "cpu")
    assert said.label == "none"
    assert sum(said.probabilities.values()) == pytest.approx(1)
    words = ["predict-image", result.name, str(spot), str(plain), "--device", "cpu"]
    assert main([*words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [one["label"] for one in content["images"]] == ["tumour", "none"]
    assert main(words) == 0
    assert "'tumour' is called from" in capsys.readouterr().out
    assert main(["predict-image", "nobody", str(spot)]) == 1
    assert f"Choose one of: {result.name}" in capsys.readouterr().err
    assert result.name not in {model.name for model in list_models()}


def test_bad_pictures_are_named_and_cost_the_others_nothing(
    trained, tmp_path, monkeypatch, capsys
):
    result, _out, home = trained
    monkeypatch.setenv("NAPARI_LIVERSEG_DATA", str(home))
    spot = write_png(tmp_path / "spot.png", grey(np.random.default_rng(5), True))
    cut, gone = tmp_path / "cut.png", tmp_path / "gone.png"
    cut.write_bytes(spot.read_bytes()[:60])
    words = ["predict-image", result.name, *map(str, (cut, spot, gone))]
    assert main([*words, "--device", "cpu", "--json"]) == 1
    said = capsys.readouterr()
    content = json.loads(said.out)
    assert [one["image"] for one in content["images"]] == [str(spot)]
    assert content["images"][0]["label"] == "tumour"
    assert [one["image"] for one in content["refused"]] == [str(cut), str(gone)]
    assert content["refused"][1]["reason"].startswith("There is no file 'gone.png'")
    first, second, end = said.err.splitlines()
    assert first.startswith("Error in cut.png: 'cut.png' cannot be read")
    assert second.startswith("Error in gone.png: There is no file")
    assert end.startswith("Error: 2 of 3 pictures could not be read.")
    assert str(tmp_path) not in said.err
    assert main([*words, "--device", "cpu"]) == 1
    said = capsys.readouterr()
    assert "spot.png" in said.out
    assert "Not for clinical use." in said.out
    assert len(said.err.splitlines()) == 3
    assert main(["predict-image", result.name, str(cut), str(gone)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "2 of 2" in said.err


def test_a_dicom_slice_is_seen_as_the_picture_of_its_window(trained, tmp_path):
    result, _out, _home = trained
    classifier = PictureClassifier(find_classifier(result.model), "cpu")
    low, high = classifier.model.hu_window
    picture = grey(np.random.default_rng(5), has_spot=True)
    hu = np.rint(picture * (high - low) + low)[None]
    grid = Geometry((1, *picture.shape), (3.0, 0.8, 0.8), (0.0, 0.0, 0.0))
    (path,) = write_series(tmp_path, hu, grid)
    direct = classifier.predict_array(picture.astype(np.float32))
    read = classifier.predict(path)
    assert read.label == direct.label == "tumour"
    for name, share in direct.probabilities.items():
        assert read.probabilities[name] == pytest.approx(share, abs=0.02)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(pictures, tmp_path):
    whole = train_tiny(pictures, tmp_path / "whole", epochs=4)
    stopped = train_tiny(pictures, tmp_path / "parts", 2, epochs=4)
    assert stopped.was_stopped
    assert stopped.model is None
    with pytest.raises(ExportError, match="holds a training already"):
        train_tiny(pictures, tmp_path / "parts", epochs=4)
    parts = train_tiny(pictures, tmp_path / "parts", epochs=4, order={"resume": True})
    digests = [find_classifier(one.model).sha256 for one in (whole, parts)]
    assert digests[0] == digests[1]
    assert whole.name != parts.name
    again = train_tiny(pictures, tmp_path / "parts", epochs=4, order={"resume": True})
    assert again.name == parts.name
    assert find_classifier(again.model).name == parts.name


def test_what_is_over_is_told_again_and_not_trained_on(pictures, tmp_path):
    first = train_tiny(pictures, tmp_path / "out", minutes=1e-6)
    again = train_tiny(pictures, tmp_path / "out", order={"resume": True}, minutes=60)
    # The model that is listed is the one whose figures are told.
    listed, kept = find_classifier(again.name), find_classifier(again.model)
    assert listed.sha256 == kept.sha256
    assert first.figures == again.figures


def test_a_disk_that_is_full_at_the_end_is_a_sentence(pictures, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(classification, "save_classifier", full)
        with pytest.raises(ExportError, match="No space left on device") as refusal:
            train_tiny(pictures, tmp_path / "out", epochs=1)
    assert "--resume" in refusal.value.next_step
    resumed = {"resume": True}
    assert train_tiny(pictures, tmp_path / "out", epochs=1, order=resumed).model


def test_a_training_goes_on_with_the_pictures_that_it_began_with(tmp_path):
    data = make_pictures(tmp_path / "data")
    train_tiny(data, tmp_path / "out", stop_after=1, epochs=2)
    changed_one = data / "none" / "p02" / "1.png"
    before = changed_one.read_bytes()
    write_png(changed_one, grey(np.random.default_rng(77), has_spot=False))
    again = {"order": {"resume": True}, "epochs": 2}
    with pytest.raises(CaseError, match="Pictures are others than when") as refusal:
        train_tiny(data, tmp_path / "out", **again)
    assert "'4, 1.png'." in str(refusal.value)
    changed_one.write_bytes(before)  # with another date, which does not matter
    assert train_tiny(data, tmp_path / "out", **again).model is not None


def test_a_training_goes_on_with_the_encoder_that_it_began_from(pictures, tmp_path):
    folder = write_random_model(tmp_path / "start")
    fields = {"start": str(folder), "epochs": 2}
    train_tiny(pictures, tmp_path / "out", stop_after=1, **fields)
    shutil.rmtree(folder)
    write_random_model(folder, seed=1)
    with pytest.raises(ModelError, match="began from is another one now"):
        train_tiny(pictures, tmp_path / "out", order={"resume": True}, **fields)


def test_early_stopping_ends_it(pictures, tmp_path):
    few = {"patience": 1, "least": 10.0}
    train_tiny(pictures, tmp_path / "out", epochs=9, early_stopping=few)
    assert len((tmp_path / "out" / "curves.csv").read_text().splitlines()) == 3


def test_it_begins_from_the_encoder_of_a_segmentation_model(pictures, tmp_path):
    folder = write_random_model(tmp_path / "start")
    result = train_tiny(
        pictures, tmp_path / "out", start=str(folder), epochs=2, frozen_epochs=2
    )
    spec = find_classifier(result.model)
    assert isinstance(spec.backbone, EncoderSpec)
    assert "encoder of start" in spec.training_data
    # That model may have learnt from the pictures of the test part.
    said = "trained nothing, but perhaps the model whose encoder it has"
    assert said in spec.figures[0].source
    # Frozen to the end, so that the weights are still those of the model.
    network = PictureClassifier(spec, "cpu").network
    for name, value in encoder_weights(find_model(str(folder))).items():
        torch.testing.assert_close(network.backbone.state_dict()[name], value)


def test_a_residual_encoder_is_no_start(pictures, tmp_path):
    network = ResUNetSpec(type="resnet-unet", depth=10, width=0.125)
    folder = write_random_model(
        tmp_path / "residual", network=network, patch=(1, 32, 32)
    )
    with pytest.raises(ModelError, match="another encoder"):
        train_tiny(pictures, tmp_path / "out", start=str(folder))


def test_a_model_of_two_stages_is_no_start(pictures, tmp_path):
    with pytest.raises(ModelError, match="'starter' is of two stages"):
        train_tiny(pictures, tmp_path / "out", start="starter")


def test_a_flattened_encoder_computes_what_the_encoder_does_in_three_dimensions(
    tmp_path,
):
    network = NetworkSpec(channels=(4, 8), strides=(2,), num_res_units=1, norm="none")
    folder = write_random_model(tmp_path / "model", network=network)
    model = find_model(str(folder))
    flat = build_backbone(EncoderSpec(network=network))
    flat.load_state_dict(encoder_weights(model))
    deep = build_network(network)
    deep.load_state_dict(model.load_networks()[0].state_dict())
    picture = torch.rand(1, 1, 16, 24)
    column = (picture * 2 - 1)[:, :, None].expand(-1, -1, 32, -1, -1)
    with torch.no_grad():
        found = deep.model[1].submodule(deep.model[0](column))
        wanted = found[:, :, found.shape[2] // 2].mean(dim=(2, 3))
        torch.testing.assert_close(flat(picture), wanted, rtol=1e-4, atol=1e-5)


def test_features_of_an_encoder_are_standardised_and_small_findings_kept():
    network = NetworkSpec(channels=(4, 8), strides=(2,), num_res_units=1)
    spec = EncoderSpec(network=network, pooling="levels")
    torch.manual_seed(0)
    classifier = Classifier(spec, 2).train()
    seen = []
    classifier.head.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    classifier(torch.rand(8, 1, 32, 32))
    assert seen[0].shape == (8, 2 * sum(network.channels))
    torch.testing.assert_close(seen[0].mean(0), torch.zeros(24), rtol=0, atol=1e-4)
    assert torch.isfinite(classifier(torch.rand(1, 1, 32, 32))).all(), "batches of one"
    picture = torch.rand(2, 1, 32, 32)
    first = classifier.backbone.levels[0](picture * 2 - 1)
    pooled = classifier.backbone(picture)
    torch.testing.assert_close(pooled[:, :4], first.mean((2, 3)))
    torch.testing.assert_close(pooled[:, 4:8], first.amax((2, 3)))
    older = EncoderSpec.model_validate({"network": network.model_dump()})
    assert older.pooling == "mean", "as files say that were written before"
    assert not Classifier(older, 2).norm.state_dict()
    assert Classifier(older, 2).head.in_features == network.channels[-1]


def test_imagenet_weights_of_a_file_are_taken_for_grey(tmp_path):
    spec = ResNetSpec(depth=18, width=0.125)
    backbone = build_backbone(spec)
    given = {k: v.clone() for k, v in backbone.net.state_dict().items()}
    colour = torch.randn(given["conv1.weight"].shape[0], 3, 7, 7)
    given["conv1.weight"] = colour
    given |= {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}
    save_file(given, tmp_path / "resnet18.safetensors")
    torch.save(given, tmp_path / "resnet18.pth")
    for name in ("resnet18.safetensors", "resnet18.pth"):
        weights = resnet_weights(tmp_path / name, backbone)
        taken = weights["net.conv1.weight"]
        torch.testing.assert_close(taken, colour.sum(1, keepdim=True))
        build_backbone(spec).load_state_dict(weights)
    other = build_backbone(ResNetSpec(depth=34, width=0.125))
    with pytest.raises(ModelError, match="do not fit"):
        resnet_weights(tmp_path / "resnet18.pth", other)
    with pytest.raises(ModelError, match="no file of weights"):
        resnet_weights(tmp_path / "missing.pth", backbone)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="do not fit"):
        resnet_weights(tmp_path / "broken.safetensors", backbone)


@pytest.mark.parametrize(("of", "wanted"), [(34, 18), (18, 10)])
def test_weights_of_a_deeper_network_are_refused(tmp_path, of, wanted):
    # The deeper one has every tensor of the other, under its name and in its shape.
    file = tmp_path / f"resnet{of}.safetensors"
    save_file(build_backbone(ResNetSpec(depth=of, width=0.125)).net.state_dict(), file)
    with pytest.raises(ModelError, match="it also holds 'layer"):
        resnet_weights(file, build_backbone(ResNetSpec(depth=wanted, width=0.125)))


def test_names_of_torchvision_are_those_of_the_whole_size():
    with torch.device("meta"):
        names = build_backbone(ResNetSpec(depth=50)).net.state_dict()
    assert tuple(names["conv1.weight"].shape) == (64, 1, 7, 7)
    assert tuple(names["layer4.2.conv3.weight"].shape) == (2048, 512, 1, 1)
    assert "layer1.0.downsample.0.bias" not in names
    assert sum(v.numel() for k, v in names.items() if "num_" not in k) == 23_554_880


def test_three_classes_get_a_roc_each(tmp_path):
    rng = np.random.default_rng(3)
    rows = []
    for number in range(18):
        label = ("a", "b", "c")[number % 3]
        picture = np.clip(grey(rng, label == "b") + 0.3 * (label == "c"), 0, 1)
        write_png(tmp_path / f"{number}.png", picture)
        rows.append((f"{number}.png", label, f"patient {number}"))
    data = write_list(tmp_path / "list.csv", rows)
    result = train_tiny(data, tmp_path / "out", epochs=3)
    spec = find_classifier(result.model)
    assert spec.cut_off is None
    whats = {figure.what for figure in spec.figures}
    assert {"AUC of a", "AUC of b", "AUC of c"} <= whats
    with pytest.raises(CaseError, match="a cut-off is for two"):
        train_tiny(data, tmp_path / "other", positive="a")


def test_bad_pictures_are_named_in_one_report_before_anything_is_trained(tmp_path):
    folder = make_pictures(tmp_path / "data", patients=4, each=1)
    (folder / "tumour" / "p01" / "broken.png").write_bytes(b"no picture")
    copy = folder / "none" / "p98" / "same.png"
    copy.parent.mkdir()
    copy.write_bytes((folder / "tumour" / "p01" / "0.png").read_bytes())
    with pytest.raises(CaseError) as refusal:
        train_tiny(folder, tmp_path / "out")
    said = str(refusal.value)
    assert "2 of 10 pictures" in said
    assert "'broken.png' cannot be read" in said
    assert "same picture" in said
    assert not (tmp_path / "out" / "fold_1").exists()


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([("a.png", "x", "")], ("file", "label", "patient"), "lacks the columns"),
        ([("a.png", "", "p")], ("path", "label", "patient"), "lacks a path or a label"),
        ([("b.png", "x", "p")], ("path", "label", "patient"), "are not there: line 2"),
        ([("a.png", "x", "p")] * 2, ("path", "label", "patient"), "twice"),
        ([("a.png", "x", "p")], ("path", "label", "patient"), "1 classes"),
    ],
)
def test_a_bad_list_is_refused_in_words(tmp_path, rows, columns, said):
    write_png(tmp_path / "a.png", np.zeros((ROWS, ROWS)))
    data = write_list(tmp_path / "list.csv", rows, columns)
    with pytest.raises(CaseError, match=said):
        train_tiny(data, tmp_path / "out")


def test_a_training_among_the_classes_is_refused(tmp_path):
    data = make_pictures(tmp_path / "data", patients=3, each=1)
    with pytest.raises(ExportError, match="lies in the folder of the pictures"):
        train_tiny(data, data / "out")
    assert {path.name for path in data.iterdir()} == {"none", "tumour"}


def test_too_few_patients_and_other_wishes_are_refused(pictures, tmp_path):
    few = make_pictures(tmp_path / "few", patients=2, each=3)
    with pytest.raises(CaseError, match="three a class"):
        train_tiny(few, tmp_path / "out")
    with pytest.raises(CaseError, match="looks for 'cyst'"):
        train_tiny(pictures, tmp_path / "out2", positive="cyst")
    with pytest.raises(DeviceError, match="one device"):
        train_tiny(pictures, tmp_path / "out3", order={"place": Place("cpu", 2, 0)})
    with pytest.raises(CaseError, match="no folder of pictures"):
        train_tiny(tmp_path / "nothing", tmp_path / "out4")


def test_a_changed_classifier_is_refused(trained, tmp_path):
    result, _out, _home = trained
    spec = find_classifier(result.model)
    for file in spec.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "classifier.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ModelError, match="are not those"):
        PictureClassifier(find_classifier(tmp_path), "cpu")
    (tmp_path / "classifier.json").write_text('{"format": 2}')
    with pytest.raises(ModelError, match="does not describe a classifier"):
        find_classifier(tmp_path)


def test_pictures_keep_their_shape_when_fitted():
    picture = np.ones((10, 20), np.float32)
    square = fitted(picture, 40)
    assert square.shape == (1, 40, 40)
    assert square[0, 20, 20] == 1
    assert square[0, 2, 20] == square[0, 37, 20] == 0


def test_the_bundled_recipe_is_read_and_starts_from_what_is_there():
    assert "slice-classifier" in bundled_recipes()
    recipe = read_recipe("slice-classifier")
    assert recipe.kind == "classification-2d"
    with pytest.raises(ModelError, match="cannot be changed"):
        changed(recipe, folds=5)


@pytest.mark.slow
def test_the_bundled_recipe_trains_from_the_starter(tmp_path):
    data = make_pictures(tmp_path / "data")
    recipe = changed(read_recipe("slice-classifier"), epochs=8, image_size=64)
    fields = recipe.model_dump()
    result = train_tiny(data, tmp_path / "out", **fields)
    assert "encoder of starter" in find_classifier(result.model).training_data
    found = predict_image(result.name, next(data.rglob("*.png")), "cpu")
    assert sum(found.probabilities.values()) == pytest.approx(1)


def test_the_spec_of_a_segmentation_model_stays_as_it_was():
    assert tiny_spec().network.type == "monai.UNet"


def test_labelled_cts_are_learnt_from_slice_by_slice(tmp_path):
    data = make_set(tmp_path / "set")
    result = train_tiny(data, tmp_path / "out", epochs=2, test_share=0.4)
    assert "3 patients" in find_classifier(result.name).training_data
    cut = list((tmp_path / "out" / "cache" / "slices").rglob("*.png"))
    truth = [
        read_label_map(case.label, open_ct(case.image)).labels
        for case in find_labelled(data).cases
    ]
    bears = sum(int((labels == 2).any(axis=(1, 2)).sum()) for labels in truth)
    shows = sum(int(labels.any(axis=(1, 2)).sum()) for labels in truth)
    assert len([path for path in cut if "tumour" in path.parts]) == bears
    assert len(cut) == shows
    prediction = predict_image(result.name, cut[0])
    assert set(prediction.probabilities) == {"none", "tumour"}


def test_labelled_cts_that_are_no_good_are_named_before_anything_is_cut(tmp_path):
    data = make_set(tmp_path / "set")
    for label in list((data / "labelsTr").iterdir())[:2]:
        label.write_bytes(b"no image")
    with pytest.raises(CaseError, match="2 of 4 cases cannot be trained on"):
        train_tiny(data, tmp_path / "out")


def test_a_stop_is_heard_between_pictures_that_are_checked(pictures):
    data, recipe = find_pictures(pictures), read_recipe("slice-classifier")
    told, asked = [], iter([False, False, True])
    with pytest.raises(CancelledError):
        check_pictures(
            data, recipe, lambda done, *_: told.append(done), lambda: next(asked)
        )
    assert told == [0, 1]


def test_a_stop_is_heard_between_the_cases_that_are_cut(tmp_path):
    data, out = make_set(tmp_path / "set"), tmp_path / "slices"
    asked = iter([False, True])
    with pytest.raises(CancelledError):
        cut_slices(data, out, (-160, 240), lambda *_: None, lambda: next(asked))
    assert len({path.name[:-9] for path in out.rglob("*.png")}) == 1
    cut_slices(data, out, (-160, 240), lambda *_: None)
    assert len({path.name[:-9] for path in out.rglob("*.png")}) == 4


def test_slices_of_a_dicom_patient_lie_together(tmp_path):
    path = write_dicom_set(tmp_path / "set", ("p1", "p1", "p2"))
    cut_slices(path, tmp_path / "slices", (-160, 240), lambda *_: None)
    assert len(list((tmp_path / "slices" / "tumour").iterdir())) == 2


def test_slices_of_a_patient_of_list_and_header_are_one_patients(tmp_path):
    path = write_dicom_set(tmp_path / "set", ("p1", "p1", "p2"))
    content = json.loads(path.read_text())
    content["training"][0]["patient"] = "anna"
    path.write_text(json.dumps(content))
    found = cut_slices(path, tmp_path / "slices", (-160, 240), lambda *_: None)
    whose = {p.path.name.rpartition("_")[0]: p.patient for p in found.pictures}
    assert whose["ct0"] == whose["ct1"] != whose["ct2"]
    assert "2 patients" in found.note


def test_cts_whose_patients_nobody_names_are_told(tmp_path):
    data = make_set(tmp_path / "set")
    items = []
    for number, case in enumerate(find_labelled(data).cases):
        image = tmp_path / f"ct{number}.nii.gz"  # the ID named the patient
        image.write_bytes(case.image.read_bytes())
        items.append({"image": image.name, "label": str(case.label)})
    labels = {"background": 0, "liver": 1, "tumour": 2}
    path = write_datalist(tmp_path / "list.json", items, labels=labels)
    found = cut_slices(path, tmp_path / "slices", (-160, 240), lambda *_: None)
    assert "Of 4 CTs no patient is named" in found.note
    named = cut_slices(data, tmp_path / "slices", (-160, 240), lambda *_: None)
    assert "of 3 patients, by the patients that the data set names" in named.note


@pytest.mark.parametrize(
    ("kept", "said"), [((1,), "20 mm² of tumour"), ((2,), "no tumour")]
)
def test_cts_with_slices_of_one_class_are_refused_for_that(tmp_path, kept, said):
    data = make_set(tmp_path / "set")
    for case in find_labelled(data).cases:
        label = sitk.ReadImage(str(case.label))
        values = sitk.GetArrayFromImage(label)
        less = sitk.GetImageFromArray(np.where(np.isin(values, kept), values, 0))
        less.CopyInformation(label)
        sitk.WriteImage(less, str(case.label))
    with pytest.raises(CaseError, match=f"shows the organ and {said}"):
        cut_slices(data, tmp_path / "slices", (-160, 240), lambda *_: None)


def test_another_organ_is_learnt_by_its_label_names(tmp_path):
    data = make_set(tmp_path / "set")
    listed = json.loads((data / "dataset.json").read_text())
    listed["labels"] = {"background": 0, "pancreas": 1, "cancer": 2}
    (data / "dataset.json").write_text(json.dumps(listed))
    with pytest.raises(CaseError, match=r"Name them in the recipe: labels:"):
        train_tiny(data, tmp_path / "out", epochs=1)
    named = {"organ": ["pancreas"], "lesion": ["cancer"]}
    result = train_tiny(
        data, tmp_path / "named", epochs=1, test_share=0.4, labels=named
    )
    assert find_classifier(result.name).classes == ("none", "tumour")


def test_a_patient_of_a_list_cannot_lead_out_of_the_folder(tmp_path):
    data = make_set(tmp_path / "set")
    items = [
        {"image": str(case.image), "label": str(case.label), "patient": f"../{n}"}
        for n, case in enumerate(find_labelled(data).cases)
    ]
    labels = {"background": 0, "liver": 1, "tumour": 2}
    path = write_datalist(tmp_path / "list.json", items, labels=labels)
    cut_slices(path, tmp_path / "out" / "slices", (-160, 240), lambda *_: None)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"slices"}
    assert len(list((tmp_path / "out" / "slices" / "none").iterdir())) == 4
