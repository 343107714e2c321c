"""An nnU-Net's folder is described by what its files say, or refused with a reason."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch

from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import MissingExtraError, ModelError
from napari_liverseg.models import nnunet_network
from napari_liverseg.models.known_weights import known_file
from napari_liverseg.models.mapping import MAPPING_FILE, ChannelMapping
from napari_liverseg.models.nnunet_folder import is_nnunet, read_nnunet
from nnunet_case import (
    LABELS,
    PATCH,
    SPACING,
    dataset,
    plans,
    random_state,
    write_folder,
)

REGIONS = {"background": 0, "liver": [1, 2], "tumour": [2]}


def _needs_networks():
    reason = "needs the extra 'nnunet' (dynamic-network-architectures)"
    pytest.importorskip("dynamic_network_architectures", reason=reason)


def _refused(folder, **options):
    with pytest.raises(ModelError) as refusal:
        read_nnunet(folder, **options)
    assert refusal.value.next_step
    return str(refusal.value)


def _configured(**changes):
    return plans(**changes)


def _nested(**changes):
    """Plans whose network's arguments are changed."""
    changed = plans()
    changed["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"].update(
        changes
    )
    return changed


@pytest.fixture
def runnable(tmp_path):
    """A folder of one fold with random weights that fit."""
    _needs_networks()
    bare = write_folder(tmp_path / "bare")
    return write_folder(tmp_path, [random_state(bare)])


def _file(folder, fold=0):
    return folder / f"fold_{fold}" / "checkpoint_final.pth"


def _change_weights(folder, change):
    content = torch.load(_file(folder), weights_only=False)
    change(content["network_weights"])
    torch.save(content, _file(folder))


@pytest.mark.parametrize("layout", ["new", "old"])
@pytest.mark.parametrize("network", ["PlainConvUNet", "ResidualEncoderUNet"])
def test_both_layouts_of_plans_describe_the_same_network(tmp_path, layout, network):
    folder = write_folder(tmp_path, plans_=plans(layout, network=network))
    assert is_nnunet(folder)
    model = read_nnunet(folder)
    found = model.plans.architecture
    assert found.network == network
    assert found.features_per_stage == (4, 8, 12)
    assert found.reduction == (2, 4, 4)
    assert found.depth == (1, 1, 1)
    assert found.norm_op == "InstanceNorm3d"
    assert found.conv_bias is True


def test_a_folder_says_what_the_contract_asks(tmp_path):
    model = read_nnunet(write_folder(tmp_path))
    assert model.name == "dataset017_liver-3d_fullres"
    assert model.title == "Dataset017_Liver (3d_fullres)"
    seen = model.input
    assert seen.spacing_mm == SPACING
    assert (seen.normalisation.clip, seen.normalisation.statistics) == (
        (-17.0, 201.0),
        "fixed",
    )
    assert (seen.normalisation.shift, seen.normalisation.scale) == (99.5, 37.1)
    assert (seen.orientation, seen.resampling, seen.crop) == (
        "stored",
        "nnunet",
        "nonzero",
    )
    assert (model.output.liver, model.output.tumour) == ((1,), (2,))
    assert (model.output.channels, model.output.activation) == (3, "softmax")
    assert not model.post_processing.largest_component
    assert "CC-BY-SA 4.0" in model.card
    assert "not for clinical use" in model.card
    assert len(model.version) == 10


def test_windows_mirror_as_the_checkpoint_allows(tmp_path):
    windows = read_nnunet(write_folder(tmp_path)).windows
    assert (windows.patch, windows.overlap, windows.padding) == (PATCH, 0.5, 0.0)
    assert (windows.placement, windows.blend) == ("nnunet", "nnunet")
    assert windows.mirror_axes == (0, 1, 2)
    other = write_folder(tmp_path / "b", inference_allowed_mirroring_axes=None)
    assert read_nnunet(other).windows.mirror_axes == ()
    odd = write_folder(tmp_path / "c", inference_allowed_mirroring_axes=(0, 7))
    with pytest.raises(ModelError, match="axes that there are not"):
        _ = read_nnunet(odd).windows


@pytest.mark.parametrize(
    ("reader", "orientation"),
    [
        ("SimpleITKIO", "stored"),
        ("NibabelIO", "stored"),
        ("NibabelIOWithReorient", "RAS"),
    ],
)
def test_readers_and_transposition_set_the_axes(tmp_path, reader, orientation):
    changed = {**plans(), "image_reader_writer": reader, "transpose_forward": [2, 0, 1]}
    seen = read_nnunet(write_folder(tmp_path, plans_=changed)).input
    assert (seen.orientation, seen.transpose) == (orientation, (2, 0, 1))


def test_regions_are_channels_in_the_files_order(tmp_path):
    content = dataset(REGIONS, regions_class_order=[1, 2])
    model = read_nnunet(write_folder(tmp_path, dataset_=content))
    assert (model.output.channels, model.output.activation) == (2, "sigmoid")
    assert (model.output.liver, model.output.tumour) == ((0,), (1,))
    ignored = dataset({**LABELS, "ignore": 3})
    assert (
        read_nnunet(write_folder(tmp_path / "i", dataset_=ignored)).output.channels == 3
    )


@pytest.mark.parametrize(
    ("scheme", "statistics"),
    [
        ("ZScoreNormalization", "mean-sd"),
        ("RescaleTo01Normalization", "min-max"),
        ("NoNormalization", "fixed"),
    ],
)
def test_other_normalisations(tmp_path, scheme, statistics):
    folder = write_folder(tmp_path, plans_=plans(normalization_schemes=[scheme]))
    found = read_nnunet(folder).input.normalisation
    assert (found.clip, found.statistics) == (None, statistics)


def test_older_plans_name_the_intensities_otherwise(tmp_path):
    content = plans()
    content["foreground_intensity_properties_by_modality"] = content.pop(
        "foreground_intensity_properties_per_channel"
    )
    found = read_nnunet(write_folder(tmp_path, plans_=content)).input.normalisation
    assert found.clip == (-17.0, 201.0)


def test_configurations_inherit(tmp_path):
    content = plans()
    high = {"inherits_from": "3d_fullres", "spacing": [1.0, 0.75, 0.75]}
    content["configurations"]["3d_fullres_high"] = high
    name = "nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres_high"
    model = read_nnunet(write_folder(tmp_path, plans_=content, name=name))
    assert model.input.spacing_mm == (1.0, 0.75, 0.75)
    assert model.plans.patch == PATCH
    assert model.name == "dataset017_liver-nnunettrainernomirroring-3d_fullres_high"


def test_a_renamed_folder_must_leave_no_choice(tmp_path):
    model = read_nnunet(write_folder(tmp_path, name="my-liver"))
    assert model.plans.configuration == "3d_fullres"
    content = plans()
    content["configurations"]["3d_lowres"] = content["configurations"]["3d_fullres"]
    folder = write_folder(tmp_path / "two", plans_=content, name="my-liver")
    assert "does not tell" in _refused(folder)
    assert read_nnunet(folder, "3d_lowres").plans.configuration == "3d_lowres"


def test_what_cannot_run_is_refused_with_the_reason(tmp_path):
    content = plans()
    cascade = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    content["configurations"]["3d_cascade_fullres"] = cascade
    folder = write_folder(tmp_path, plans_=content)
    assert "2-D" in _refused(folder, configuration="2d")
    assert "cascade" in _refused(folder, configuration="3d_cascade_fullres")
    assert "no configuration '3d'" in _refused(folder, configuration="3d")
    two = dataset(channel_names={"0": "CT", "1": "PET"})
    assert "2 images" in _refused(write_folder(tmp_path / "a", dataset_=two))
    mri = dataset(channel_names={"0": "T1 MRI"})
    assert "not on CT" in _refused(write_folder(tmp_path / "b", dataset_=mri))
    name = "MyTrainer__nnUNetPlans__3d_fullres"
    assert "MyTrainer" in _refused(write_folder(tmp_path / "c", name=name))
    none = dataset({"background": 0, "spleen": 1, "kidney": 2})
    words = _refused(write_folder(tmp_path / "d", dataset_=none))
    assert "spleen" in words


BAD_PLANS = {
    "spacing 0": _configured(spacing=[0.0, 1.0, 1.0]),
    "spacing NaN": _configured(spacing=[math.nan, 1.0, 1.0]),
    "spacing huge": _configured(spacing=[1.0, 1e9, 1.0]),
    "patch huge": _configured(patch_size=[1024, 1024, 1024]),
    "patch negative": _configured(patch_size=[-16, 24, 32]),
    "patch of four": _configured(patch_size=[16, 24, 32, 8]),
    "patch that does not divide": _configured(patch_size=[15, 24, 32]),
    "patch of words": _configured(patch_size="large"),
    "mask": _configured(
        use_mask_for_norm=[True], normalization_schemes=["ZScoreNormalization"]
    ),
    "unknown scheme": _configured(normalization_schemes=["RGBTo01Normalization"]),
    "preprocessor": _configured(preprocessor_name="ResamplePreprocessor"),
    "resampling": _configured(resampling_fn_data="resample_torch_fornnunet"),
    "forced z": _configured(resampling_fn_data_kwargs={"force_separate_z": True}),
    "circle": _configured(inherits_from="3d_fullres"),
    "ancestor": _configured(inherits_from="../../etc/passwd"),
    "stages": _nested(n_stages=10**9),
    "negative stages": _nested(n_stages=-3),
    "features": _nested(features_per_stage=[10**9, 8, 12]),
    "kernel": _nested(kernel_sizes=[[99, 3, 3]] * 3),
    "strides": _nested(strides=[[2, 2, 2]] * 2),
    "depth": _nested(n_conv_per_stage=[10**6, 1, 1]),
    "code as layer": _nested(conv_op="os.system"),
    "code as nonlin": _nested(nonlin="builtins.eval"),
    "foreign torch": _nested(nonlin="torch.nn.Module"),
    "unknown argument": _nested(surprise=1),
    "class": {
        **plans(),
        "configurations": {
            "3d_fullres": {
                **plans()["configurations"]["3d_fullres"],
                "architecture": {
                    "network_class_name": "subprocess.Popen",
                    "arch_kwargs": {"args": "id"},
                },
            }
        },
    },
    "reader": {**plans(), "image_reader_writer": "NaturalImage2DIO"},
    "transpose": {**plans(), "transpose_forward": [0, 0, 2]},
    "configurations": {**plans(), "configurations": [1, 2]},
    "intensities": {**plans(), "foreground_intensity_properties_per_channel": {}},
}


@pytest.mark.parametrize("what", BAD_PLANS)
def test_plans_out_of_reason_are_refused(tmp_path, what):
    _refused(write_folder(tmp_path, plans_=BAD_PLANS[what]))


BAD_LABELS = {
    "gap": dataset({"background": 0, "liver": 2}),
    "doubled": dataset({"background": 0, "liver": 1, "tumour": 1}),
    "no background": dataset({"liver": 1}),
    "background 1": dataset({"background": 1, "liver": 0}),
    "background alone": dataset({"background": 0}),
    "ignore alone": dataset({"background": 0, "ignore": 1}),
    "no order": dataset(REGIONS),
    "short order": dataset(REGIONS, regions_class_order=[1]),
    "word": dataset({"background": 0, "liver": "1"}),
    "too many": dataset({"background": 0, **{f"l{i}": i for i in range(1, 600)}}),
    "long name": dataset({"background": 0, "liver" * 1000: 1}),
    "list": dataset(labels=["background", "liver"]),
}


@pytest.mark.parametrize("what", BAD_LABELS)
def test_labels_that_cannot_be_channels_are_refused(tmp_path, what):
    _refused(write_folder(tmp_path, dataset_=BAD_LABELS[what]))


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "[" * 100_000, '"x"', "\udcff", "null"]
)
@pytest.mark.parametrize("file", ["plans.json", "dataset.json"])
def test_files_that_are_no_json_object_are_refused(tmp_path, file, text):
    folder = write_folder(tmp_path)
    (folder / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert file in _refused(folder)


def test_json_of_absurd_length_is_not_read(tmp_path):
    folder = write_folder(tmp_path)
    with (folder / "plans.json").open("wb") as file:
        file.truncate(10**12)
    assert "bytes long" in _refused(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
@pytest.mark.parametrize("file", ["plans.json", "fold_0/checkpoint_final.pth"])
def test_links_that_leave_the_folder_are_refused(tmp_path, file):
    folder = write_folder(tmp_path)
    secret = tmp_path / "elsewhere"
    (folder / file).rename(secret)
    (folder / file).symlink_to(secret)
    assert "leads out" in _refused(folder)
    (folder / file).unlink()
    secret.rename(folder / "kept")
    (folder / file).symlink_to(folder / "kept")
    assert read_nnunet(folder).name


@pytest.mark.parametrize("fold", ["../../etc", "0/../../x", "", "-1", "all/.."])
def test_folds_are_numbers_and_no_paths(tmp_path, fold):
    assert "no fold" in _refused(write_folder(tmp_path), folds=(fold,))


def test_missing_folds_and_files_are_named(tmp_path):
    folder = write_folder(tmp_path)
    assert "fold_3/checkpoint_final.pth" in _refused(folder, folds=("3",))
    _file(folder).unlink()
    assert "fold_0" in _refused(folder)
    (folder / "plans.json").unlink()
    assert not is_nnunet(folder)
    assert "plans.json" in _refused(folder)


def test_a_user_says_what_channels_are(tmp_path):
    content = dataset({"background": 0, "Leber": 1, "Herd": 2})
    folder = write_folder(tmp_path, dataset_=content)
    key = "Its key there is 'dataset017_liver-3d_fullres'."
    assert f"liverseg.json. {key}" in _refused(folder)
    mapping = ChannelMapping(("Leber",), ("Herd",))
    assert read_nnunet(folder, mapping=mapping).output.tumour == (2,)
    data_folder().mkdir(parents=True)
    file = data_folder() / MAPPING_FILE
    entry = {"dataset017_liver-3d_fullres": {"liver": ["Leber"]}}
    file.write_text(json.dumps(entry))
    assert read_nnunet(folder).output.liver == (1,)
    assert read_nnunet(folder).output.tumour == ()
    file.write_text(json.dumps({"dataset017_liver-3d_fullres": {"liver": "Leber"}}))
    assert "must list" in _refused(folder)
    file.write_text(json.dumps({"dataset017_liver-3d_fullres": {"Leber": 1}}))
    assert "keys" in _refused(folder)


@pytest.mark.parametrize("layout", ["new", "old"])
@pytest.mark.parametrize("network", ["PlainConvUNet", "ResidualEncoderUNet"])
def test_networks_run_with_the_weights_of_each_fold(tmp_path, layout, network):
    _needs_networks()
    content = plans(layout, network=network)
    bare = write_folder(tmp_path / "bare", plans_=content)
    states = [random_state(bare, seed) for seed in (0, 1)]
    model = read_nnunet(write_folder(tmp_path, states, content))
    first, second = model.load_networks()
    image = torch.linspace(-1, 1, 16 * 24 * 32).reshape(1, 1, *PATCH)
    with torch.inference_mode():
        logits = first(image), second(image)
    assert logits[0].shape == (1, 3, *PATCH)
    assert not torch.allclose(*logits)
    assert not first.training
    assert not any(p.requires_grad for p in first.parameters())
    for name, value in first.state_dict().items():
        assert torch.equal(value, states[0][name])


def test_a_network_is_the_one_of_its_package(tmp_path):
    _needs_networks()
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    bare = write_folder(tmp_path / "bare")
    state = random_state(bare)
    (ours,) = read_nnunet(write_folder(tmp_path, [state])).load_networks()
    theirs = PlainConvUNet(
        input_channels=1,
        n_stages=3,
        features_per_stage=[4, 8, 12],
        conv_op=torch.nn.Conv3d,
        kernel_sizes=[[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        strides=[[1, 1, 1], [2, 2, 2], [1, 2, 2]],
        n_conv_per_stage=[1, 1, 1],
        num_classes=3,
        n_conv_per_stage_decoder=[1, 1],
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
    ).eval()
    theirs.load_state_dict(state)
    image = torch.randn(1, 1, *PATCH, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        assert torch.equal(ours(image), theirs(image))


def _drop(weights):
    weights.pop(next(iter(weights)))


def _add(weights):
    weights["surprise"] = torch.zeros(3)


def _reshape(weights):
    name = next(iter(weights))
    weights[name] = weights[name][:1]


def _claim(weights):
    """One number in the file that claims to be terabytes."""
    name = next(iter(weights))
    weights[name] = torch.zeros(1).expand(10**6, 10**6, 3, 3, 3)


def _not_a_number(weights):
    weights[next(iter(weights))].view(-1)[0] = float("nan")


def _integers(weights):
    name = next(iter(weights))
    weights[name] = weights[name].to(torch.int32)


def _sparse(weights):
    name = next(iter(weights))
    weights[name] = weights[name].to_sparse()


def _text(weights):
    weights[next(iter(weights))] = "text"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop, "lacks the tensor"),
        (_add, "none of the network's"),
        (_reshape, "has shape"),
        (_claim, "has shape"),
        (_not_a_number, "not numbers"),
        (_integers, "of type"),
        (_sparse, "no plain tensor|malformed|cannot read"),
        (_text, "no tensor"),
    ],
)
def test_weights_that_do_not_fit_are_refused(runnable, change, words):
    _change_weights(runnable, change)
    with pytest.raises(ModelError, match=words):
        read_nnunet(runnable).load_networks()


def test_weights_for_other_channels_are_refused(runnable):
    labels = {"background": 0, "liver": 1, "spleen": 2, "kidney": 3}
    (runnable / "dataset.json").write_text(json.dumps(dataset(labels)))
    with pytest.raises(ModelError, match="has shape"):
        read_nnunet(runnable).load_networks()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("trainer_name", "nnUNetTrainerBN", "trainer is 'nnUNetTrainerBN'"),
        ("init_args", {"configuration": "2d"}, "configuration is '2d'"),
        ("init_args", None, "configuration is 'None'"),
        ("network_weights", [1, 2], "no weights"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(runnable, key, value, words):
    content = torch.load(_file(runnable), weights_only=False)
    torch.save({**content, key: value}, _file(runnable))
    with pytest.raises(ModelError, match=words):
        read_nnunet(runnable).load_networks()


def test_other_weights_in_the_same_place_are_noticed(runnable):
    model = read_nnunet(runnable)
    model.load_networks()
    assert json.loads(known_file().read_text()) == {str(runnable): model.sha256}
    model.load_networks()
    _change_weights(runnable, lambda weights: next(iter(weights.values())).add_(1))
    with pytest.raises(ModelError, match="changed while in use"):
        model.load_networks()
    with pytest.raises(ModelError, match="first use") as refusal:
        read_nnunet(runnable).load_networks()
    assert str(known_file()) in refusal.value.next_step
    known_file().write_text("{")
    with pytest.raises(ModelError, match=r"hashes of weights.*remove it to trust"):
        read_nnunet(runnable).load_networks()
    known_file().unlink()
    read_nnunet(runnable).load_networks()


def test_the_hash_is_that_of_the_file_and_of_all_folds(tmp_path):
    import hashlib

    one = read_nnunet(write_folder(tmp_path))
    digest = hashlib.sha256(_file(one.folder).read_bytes()).hexdigest()
    assert one.sha256 == digest
    two = read_nnunet(write_folder(tmp_path / "two", [{}, {"a": torch.ones(1)}]))
    assert two.sha256 not in ("", digest)
    assert len(two.sha256) == 64


def test_networks_of_absurd_size_are_never_built(tmp_path, monkeypatch):
    _needs_networks()
    monkeypatch.setattr(nnunet_network, "MAX_PARAMETERS", 100)
    with pytest.raises(ModelError, match="beyond reason"):
        read_nnunet(write_folder(tmp_path)).load_networks()


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures", None)
    name = "dynamic_network_architectures.architectures"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"napari-liverseg\[nnunet\]"):
        read_nnunet(write_folder(tmp_path)).load_networks()


def _python(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    return done.stdout.strip()


def test_describing_a_folder_does_not_load_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path;"
        "from napari_liverseg.models.nnunet_folder import read_nnunet;"
        "model = read_nnunet(Path(sys.argv[1])); model.card, model.sha256;"
        "print('torch' in sys.modules)"
    )
    assert _python(code, write_folder(tmp_path)) == "False"


def test_the_u_nets_need_neither_timm_nor_torchvision():
    _needs_networks()
    code = (
        "import sys; from dynamic_network_architectures.architectures import unet;"
        "print(sorted({'timm', 'torchvision', 'einops'} & sys.modules.keys()))"
    )
    assert _python(code) == "[]"
