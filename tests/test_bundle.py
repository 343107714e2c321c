"""MONAI bundles: what their configs say is understood, or refused by its line."""

import contextlib
import copy
import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile

import pytest
import torch
from monai.transforms import (
    Compose,
    NormalizeIntensity,
    ScaleIntensity,
    ScaleIntensityRange,
)
from torch.nn.modules.module import register_module_parameter_registration_hook

from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.bundle import read_bundle
from napari_liverseg.models.bundle_config import ForeignCodeError
from napari_liverseg.models.bundle_network import load_bundle_network
from napari_liverseg.models.bundle_weights import read_tensors
from napari_liverseg.models.expression import NotPlainError, evaluate
from napari_liverseg.models.fingerprint import fingerprint
from napari_liverseg.models.mapping import MAPPING_FILE
from napari_liverseg.models.trust import is_trusted, trust
from tiny_bundle import (
    RANGE,
    SWIN,
    UNET,
    build,
    config,
    metadata,
    swin_bundle,
    transforms,
    unet_bundle,
    whole_body_bundle,
    write_bundle,
)


def _says(folder, words, error=ModelError):
    with pytest.raises(error, match=words) as refusal:
        read_bundle(folder)
    assert refusal.value.next_step
    return str(refusal.value)


def _inference(folder):
    return folder / "configs" / "inference.json"


def _normalised(bundle, hu):
    """Return what the network sees of HU, as the contract words it."""
    said = bundle.input.normalisation
    x = hu.clamp(*said.clip) if said.clip else hu
    if said.statistics == "fixed":
        base = (x - said.shift) / said.scale
    elif said.statistics == "mean-sd":
        base = (x - x.mean()) / x.std(correction=0)
    else:
        base = (x - x.min()) / (x.max() - x.min())
    gain, offset = bundle.prepared.intensity.rest
    return base * gain + offset


def test_a_unet_bundle_says_what_its_config_says(tmp_path):
    bundle = read_bundle(unet_bundle(tmp_path / "My UNet"))
    assert (bundle.name, bundle.title, bundle.version) == (
        *("my-unet", "Tiny bundle"),
        "0.1.9",
    )
    assert bundle.input.spacing_mm == (1.5, 1.5, 2.0)
    assert (bundle.input.orientation, bundle.input.transpose) == ("RAS", (2, 1, 0))
    assert bundle.input.crop == "none"
    assert bundle.windows.patch == (32, 32, 32)
    assert (bundle.windows.overlap, bundle.windows.blend) == (0.5, "constant")
    assert bundle.windows.padding == 0.0
    assert (bundle.output.liver, bundle.output.tumour) == ((1,), (2,))
    assert (bundle.output.channels, bundle.output.activation) == (3, "softmax")
    assert not bundle.post_processing.largest_component
    assert "not to be used for diagnostic purposes" in bundle.card


def test_a_whole_body_bundle_chooses_by_its_switch(tmp_path):
    folder = whole_body_bundle(tmp_path / "whole")
    bundle = read_bundle(folder)
    assert bundle.input.spacing_mm == (1.5, 1.5, 1.5)
    assert bundle.input.normalisation.statistics == "min-max"
    assert bundle.prepared.intensity.rest == (2.0, -1.0)
    assert (bundle.windows.overlap, bundle.windows.blend) == (0.25, "gaussian")
    assert (bundle.output.liver, bundle.output.tumour) == ((5,), ())
    assert "0 HU" in bundle.notice
    assert "continued with air" in bundle.notice
    text = _inference(folder).read_text().replace('"highres": true', '"highres": false')
    _inference(folder).write_text(text)
    _says(folder, "model_lowres.pt is missing")
    (folder / "models" / "model.pt").rename(folder / "models" / "model_lowres.pt")
    assert read_bundle(folder).input.spacing_mm == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(
    ("write", "size"), [(unet_bundle, 32), (whole_body_bundle, 32), (swin_bundle, 64)]
)
def test_networks_give_what_monai_gives_with_the_same_weights(tmp_path, write, size):
    if write is swin_bundle:
        pytest.importorskip("einops", reason="MONAI's SwinUNETR needs einops")
    bundle = read_bundle(write(tmp_path / "bundle"))
    before = torch.get_rng_state()
    (network,) = bundle.load_networks()
    assert torch.equal(torch.get_rng_state(), before)
    assert not network.training
    gain, offset = bundle.prepared.intensity.rest
    x = torch.rand(1, 1, size, size, size)
    with torch.inference_mode():
        wanted = build(bundle.definition.raw)(x * gain + offset)
        torch.testing.assert_close(network(x), wanted, rtol=0, atol=0)
    assert wanted.shape[1] == bundle.output.channels


def test_yaml_configs_and_long_names_are_read_too(tmp_path):
    network = {**UNET, "_target_": "monai.networks.nets.unet.UNet"}
    steps = transforms(RANGE, axcodes="LPS")
    steps[2]["_target_"] = "monai.transforms.OrientationD"
    content = config(network, steps)
    weights = {"model": build(UNET).state_dict(), "epoch": 3}
    names = ["background", "liver", "spleen"]
    folder = write_bundle(
        tmp_path / "y", metadata(names), content, weights, as_yaml=True
    )
    bundle = read_bundle(folder)
    assert (bundle.input.orientation, bundle.input.transpose) == ("LPS", (2, 1, 0))
    bundle.load_networks()


CHAINS = {
    "range": [RANGE],
    "range without clip": [{**RANGE, "clip": False, "b_min": -1}],
    "range then fixed": [
        RANGE,
        {"_target_": "NormalizeIntensityd", "subtrahend": 0.3, "divisor": 0.2},
    ],
    "two ranges": [RANGE, {**RANGE, "a_min": 0.2, "a_max": 0.7, "b_min": -1}],
    "clip then mean": [RANGE, {"_target_": "NormalizeIntensityd"}],
    "mean then range": [
        {"_target_": "NormalizeIntensityd"},
        {"_target_": "ScaleIntensityd", "minv": -1.0, "maxv": 3.0},
    ],
}
PLAIN = {
    "ScaleIntensityRanged": ScaleIntensityRange,
    "NormalizeIntensityd": NormalizeIntensity,
    "ScaleIntensityd": ScaleIntensity,
}


@pytest.mark.parametrize("steps", CHAINS.values(), ids=CHAINS)
def test_intensities_are_those_of_monai(tmp_path, steps):
    bundle = read_bundle(unet_bundle(tmp_path / "b", steps=transforms(*steps)))
    made = [
        PLAIN[s["_target_"]](**{k: v for k, v in s.items() if k != "_target_"})
        for s in steps
    ]
    hu = torch.rand(1, 7, 8, 9) * 2000 - 1000
    wanted = torch.as_tensor(Compose(made)(hu))
    torch.testing.assert_close(_normalised(bundle, hu), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("axcodes", "orientation", "transpose"),
    [
        ("RAS", "RAS", (2, 1, 0)),
        ("LPS", "LPS", (2, 1, 0)),
        ("SPL", "LPS", (0, 1, 2)),
        ("ARS", "RAS", (1, 2, 0)),
    ],
)
def test_axes_are_told_by_their_codes(tmp_path, axcodes, orientation, transpose):
    bundle = read_bundle(
        unet_bundle(tmp_path / "b", steps=transforms(RANGE, axcodes=axcodes))
    )
    assert (bundle.input.orientation, bundle.input.transpose) == (
        orientation,
        transpose,
    )


def test_without_a_direction_the_notice_says_so(tmp_path):
    steps = [s for s in transforms(RANGE) if s["_target_"] != "Orientationd"]
    bundle = read_bundle(unet_bundle(tmp_path / "b", steps=steps))
    assert bundle.input.orientation == "stored"
    assert "as its file stores it" in bundle.notice


REFUSED_STEPS = {
    "crop": ({"_target_": "CropForegroundd", "source_key": "image"}, "CropForegroundd"),
    "resize": ({"_target_": "Resized", "spatial_size": [1, 2, 3]}, "Resized"),
    "own code": ({"_target_": "scripts.Clip"}, "scripts.Clip"),
    "expression": ({**RANGE, "a_min": "$-100 - 75"}, "line .*-100 - 75"),
    "call": ({**RANGE, "a_min": "$int('5')"}, "line .*int"),
    "falls": ({**RANGE, "a_min": 300}, "not below"),
    "nonzero after": ({"_target_": "NormalizeIntensityd", "nonzero": True}, "nonzero"),
    "unknown argument": ({**RANGE, "magic": 1}, "magic"),
    "unknown directions": ({"_target_": "Orientationd", "axcodes": "LAS"}, "LAS"),
    "nearest": ({"_target_": "Spacingd", "pixdim": [1, 1, 1], "mode": 0}, "mode"),
    "negative": ({"_target_": "Spacingd", "pixdim": [1, -1, 1]}, "three numbers"),
    "NaN": ({**RANGE, "b_min": float("nan")}, "no number"),
    "infinite": ({"_target_": "Spacingd", "pixdim": [1, float("inf"), 1]}, "three"),
    "too fine": ({"_target_": "Spacingd", "pixdim": [1, 0.001, 1]}, "0.2 to 20"),
    "macro": ({**RANGE, "a_min": "%/etc/passwd"}, "macro"),
    "nowhere": ({**RANGE, "a_min": "@nothing"}, "not there"),
    "circle": ({**RANGE, "a_min": "@preprocessing"}, "without end"),
}


@pytest.mark.parametrize(("step", "words"), REFUSED_STEPS.values(), ids=REFUSED_STEPS)
def test_transforms_that_cannot_be_followed_are_refused(tmp_path, step, words):
    said = _says(unet_bundle(tmp_path / "b", steps=transforms(RANGE, step)), words)
    assert "inference.json" in said


REFUSED_ENTRIES = {
    "inferer": ({"inferer": {"_target_": "SimpleInferer"}}, "SimpleInferer"),
    "no inferer": ({"inferer": None}, "names no inferer"),
    "no network": ({"network_def": 3}, "names no network"),
    "two channels in": ({"network_def": {**UNET, "in_channels": 2}}, "in_channels"),
    "five channels out": ({"network_def": {**UNET, "out_channels": 5}}, "5"),
    "no activation": ({"postprocessing": []}, "exclude each other"),
    "outside": (
        {
            "checkpointloader": {
                "_target_": "CheckpointLoader",
                "load_path": "x/models/../../../evil.pt",
            }
        },
        "outside the bundle",
    ),
    "own post-processing": (
        {"postprocessing": [{"_target_": "FillHolesd", "keys": "pred"}]},
        "FillHolesd",
    ),
}


@pytest.mark.parametrize(
    ("entries", "words"), REFUSED_ENTRIES.values(), ids=REFUSED_ENTRIES
)
def test_configs_that_cannot_be_followed_are_refused(tmp_path, entries, words):
    weights = build(UNET).state_dict()
    _says(unet_bundle(tmp_path / "b", weights=weights, **entries), words)


REFUSED_METADATA = {
    "no liver": (metadata(["background", "spleen", "kidney"]), "liver"),
    "liver first": (metadata(["liver", "tumor", "spleen"]), "background|whose"),
    "two channels": (metadata(["background", "liver"]), "speaks of 2"),
    "two images": (
        metadata(
            ["background"],
            network_data_format={
                "inputs": {"ct": {}, "pet": {}},
                "outputs": {"pred": {}},
            },
        ),
        "2 inputs",
    ),
    "another modality": (
        metadata(
            ["background"],
            network_data_format={
                "inputs": {"image": {"modality": "MR"}},
                "outputs": {"pred": {}},
            },
        ),
        "for MR, not for CT",
    ),
    "nothing": ({}, "network_data_format"),
}


@pytest.mark.parametrize(
    ("said", "words"), REFUSED_METADATA.values(), ids=REFUSED_METADATA
)
def test_metadata_that_contradict_are_refused(tmp_path, said, words):
    _says(write_bundle(tmp_path / "b", said, config(UNET, transforms(RANGE))), words)


def _map(**models):
    data_folder().mkdir(parents=True, exist_ok=True)
    (data_folder() / MAPPING_FILE).write_text(json.dumps(models))


def _named(folder, names, **changes):
    """Write a bundle whose channels have these names."""
    content = config(UNET, transforms(RANGE), **changes)
    return write_bundle(folder, metadata(names), content)


def test_a_user_says_what_channels_are(tmp_path):
    folder = _named(tmp_path / "Our Bundle", ["Hintergrund", "Leber", "Herd"])
    said = _says(folder, "called liver: Hintergrund, Leber, Herd")
    assert said.endswith("name it in liverseg.json. Its key there is 'our-bundle'.")
    entry = {"liver": ["Leber"], "tumour": ["Herd"]}
    _map(**{"another": entry})
    _says(folder, "liverseg.json")
    _map(**{"our-bundle": entry})
    output = read_bundle(folder).output
    assert (output.liver, output.tumour) == ((1,), (2,))
    _map(**{"our-bundle": {"liver": ["Milz"]}})
    _says(folder, "names 'Milz'")


def test_what_a_user_mistypes_is_told_with_its_file(tmp_path):
    folder = _named(tmp_path / "b", ["background", "liver", "tumor"])
    data_folder().mkdir(parents=True, exist_ok=True)
    (data_folder() / MAPPING_FILE).write_text('{"b": {"liver": ["liver",]}}')
    said = _says(folder, "liverseg.json is refused: it is not JSON")
    assert said.endswith(f"Mend {data_folder() / MAPPING_FILE}.")


def test_a_background_may_be_written_large(tmp_path):
    folder = _named(tmp_path / "b", ["Background", "Liver", "Tumor"])
    assert read_bundle(folder).output.liver == (1,)


def test_a_mapping_goes_before_names_and_may_want_several_channels_of_one(tmp_path):
    folder = _named(tmp_path / "b", ["background", "lesion", "lesion"])
    _map(b={"tumour": ["lesion"]})
    output = read_bundle(folder).output
    assert (output.liver, output.tumour) == ((), (1, 2))


def test_without_a_background_no_mapping_helps(tmp_path):
    names = ["Leber", "Herd", "Milz"]
    _map(b={"liver": ["Leber"], "tumour": ["Herd"]})
    _says(_named(tmp_path / "b", names), "calls channel 0 'Leber', not 'background'")
    regions = [{"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}]
    folder = _named(tmp_path / "regions" / "b", names, postprocessing=regions)
    output = read_bundle(folder).output
    assert (output.liver, output.activation) == ((0,), "sigmoid")


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": ' * 3000, " " * 1_100_000])
def test_configs_that_are_none_are_refused(tmp_path, text):
    folder = unet_bundle(tmp_path / "b")
    _inference(folder).write_text(text)
    _says(folder, "no config")


HARMFUL_NETWORKS = {
    "a function of another module": "os.system",
    "a module behind monai": "monai.bundle.config_item.os.system",
    "a module behind its networks": "monai.networks.nets.unet.warnings.warn",
    "a function of monai": "monai.networks.utils.eval_mode",
    "code of its own": "scripts.networks.Special",
    "no class": "torch.nn.functional.relu",
}


@pytest.mark.parametrize("target", HARMFUL_NETWORKS.values(), ids=HARMFUL_NETWORKS)
def test_only_networks_of_monai_are_built(tmp_path, target):
    weights = build(UNET).state_dict()
    network = {**UNET, "_target_": target}
    folder = unet_bundle(tmp_path / "b", network=network, weights=weights)
    with pytest.raises(ForeignCodeError, match=r"line \d+: .*_target_") as refusal:
        read_bundle(folder).load_networks()
    assert target in refusal.value.found


FETCHING = {
    "_target_": "FlexibleUNet",
    "in_channels": 1,
    "out_channels": 3,
    "backbone": "resnet10",
    "pretrained": True,
}
HARMFUL_ARGUMENTS = {
    "fetches": (FETCHING, "fetches or opens"),
    "fills the memory": ({**UNET, "channels": [4, 2**40]}, "beyond"),
    "unknown": ({**UNET, "magic": 3}, "magic"),
    "cannot be": ({**UNET, "channels": [4]}, "cannot be built"),
    "larger than its weights": ({**UNET, "channels": [99_999, 99_998]}, "have shape"),
}


@pytest.mark.parametrize(
    ("network", "words"), HARMFUL_ARGUMENTS.values(), ids=HARMFUL_ARGUMENTS
)
def test_networks_beyond_their_weights_are_refused(tmp_path, network, words):
    weights = build(UNET).state_dict()
    folder = unet_bundle(tmp_path / "b", network=network, weights=weights)
    with pytest.raises(ModelError, match=words):
        read_bundle(folder).load_networks()


NESTED = {
    "_target_": "torch.nn.TransformerEncoder",
    "num_layers": 1,
    "encoder_layer": {
        "_target_": "torch.nn.TransformerEncoderLayer",
        "d_model": 8,
        "nhead": 2,
        "dim_feedforward": 16,
        "batch_first": True,
    },
}


@contextlib.contextmanager
def _devices_of_parameters():
    """Yield the devices on which parameters are made, as they are."""
    devices = []

    def note(_module, _name, parameter):
        if parameter is not None:
            devices.append(parameter.device.type)

    hook = register_module_parameter_registration_hook(note)
    try:
        yield devices
    finally:
        hook.remove()


def test_layers_inside_a_network_take_no_memory_before_their_weights_fit(tmp_path):
    definition = read_bundle(unet_bundle(tmp_path / "b")).definition
    nested = dataclasses.replace(definition, raw=NESTED)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    weights = torch.nn.TransformerEncoder(layer, 1).state_dict()
    for name, tensors in (("fits", weights), ("not", {"other": torch.zeros(1)})):
        file = tmp_path / f"{name}.pt"
        torch.save(tensors, file)
        with _devices_of_parameters() as devices:
            words = (nested, file.read_bytes(), "b", (1.0, 0.0))
            if name == "fits":
                network = load_bundle_network(*words)
                assert set(devices) == {"meta", "cpu"}
                assert network.state_dict().keys() == weights.keys()
                continue
            with pytest.raises(ModelError, match="lack the tensor"):
                load_bundle_network(*words)
            assert set(devices) == {"meta"}


def test_layers_inside_a_network_are_refused_as_the_network_is(tmp_path):
    definition = read_bundle(unet_bundle(tmp_path / "b")).definition
    file = tmp_path / "w.pt"
    torch.save({"w": torch.zeros(1)}, file)
    inner = NESTED["encoder_layer"]
    for changes, words in (
        ({"_target_": "os.system"}, "no network of MONAI's"),
        ({"magic": 1}, "magic"),
        ({"d_model": 2**40}, "beyond"),
        ({"nhead": 3}, "cannot be built"),
    ):
        raw = {**NESTED, "encoder_layer": {**inner, **changes}}
        nested = dataclasses.replace(definition, raw=raw)
        with (
            _devices_of_parameters() as devices,
            pytest.raises(ModelError, match=words),
        ):
            load_bundle_network(nested, file.read_bytes(), "b", (1.0, 0.0))
        assert devices == []


def test_code_in_a_config_is_never_run(tmp_path):
    trap = tmp_path / "sprung"
    code = f"$__import__('os').mkdir({str(trap)!r})"
    entries = {"imports": [code], "device": code, "initialize": [code], "run": [code]}
    read_bundle(unet_bundle(tmp_path / "a", **entries)).load_networks()
    weights = build(UNET).state_dict()
    network = {**UNET, "norm": code}
    folder = unet_bundle(tmp_path / "b", network=network, weights=weights)
    assert "mkdir" in _says(folder, r"line \d+: ", ForeignCodeError)
    assert not trap.exists()


@pytest.mark.parametrize(
    "text",
    [
        "().__class__",
        "print(1)",
        "[x for x in [1]]",
        "lambda: 1",
        "f'{1}'",
        "1 + 1",
        "2 ** 99999",
        "'a' * 9",
        "__import__('os')",
        "@a.b",
        "b'x'",
        "1 if",
        "-" * 2000,
        "\0",
    ],
)
def test_expressions_beyond_values_are_refused(text):
    with pytest.raises(NotPlainError):
        evaluate(text, lambda _: 1)


def test_expressions_that_say_values_are_read():
    known = {"@a": True, "@a#b": "x", "@a::0": 2.5}
    text = "[-1, @a::0, @a#b + '.pt', {'k': None}] if not not @a else 0"
    assert evaluate(text, known.__getitem__) == [-1, 2.5, "x.pt", {"k": None}]


def _first(weights):
    return sorted(weights)[0]


REFUSED_WEIGHTS = {
    "NaN": (lambda w: {**w, _first(w): w[_first(w)] * float("nan")}, "not numbers"),
    "missing": (lambda w: {k: w[k] for k in sorted(w)[1:]}, "lack the tensor"),
    "too many": (lambda w: {**w, "extra": torch.zeros(1)}, "'extra'"),
    "no table": (lambda w: torch.zeros(3), "no table"),
    "sparse": (lambda w: {**w, _first(w): w[_first(w)].to_sparse()}, "sparse"),
    "a bomb": (
        lambda w: {**w, "extra": torch.zeros(1).expand(99_999, 99_999)},
        "unfold to more",
    ),
    "a list": (lambda w: [1, 2], "no table"),
    "four channels": (
        lambda w: build({**UNET, "out_channels": 4}).state_dict(),
        "have shape",
    ),
}


@pytest.mark.parametrize(
    ("change", "words"), REFUSED_WEIGHTS.values(), ids=REFUSED_WEIGHTS
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, words):
    weights = change(build(UNET).state_dict())
    bundle = read_bundle(unet_bundle(tmp_path / "b", weights=weights))
    with pytest.raises(ModelError, match=words):
        bundle.load_networks()


def test_a_pickle_with_code_is_never_unpickled(tmp_path):
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    bundle = read_bundle(unet_bundle(tmp_path / "b", weights={"model": Trap()}))
    with pytest.raises(ModelError, match="could be code"):
        bundle.load_networks()
    assert not trap.exists()
    bundle.weights_file.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ModelError, match="weights"):
        bundle.load_networks()


def _packed_again(content, path, compression):
    """Write the records of a checkpoint anew, as another program packs a zip."""
    with (
        zipfile.ZipFile(io.BytesIO(content)) as given,
        zipfile.ZipFile(path, "w", compression) as made,
    ):
        for record in given.namelist():
            made.writestr(record, given.read(record))
    return path


def test_weights_that_unfold_are_refused_before_they_do(tmp_path):
    bundle = read_bundle(unet_bundle(tmp_path / "b"))
    plain, file = bundle.weights(), tmp_path / "again.pt"
    stored = _packed_again(plain, file, zipfile.ZIP_STORED).read_bytes()
    assert read_tensors(stored, "b").keys() == read_tensors(plain, "b").keys()
    packed = _packed_again(plain, file, zipfile.ZIP_DEFLATED).read_bytes()
    with pytest.raises(ModelError, match="are packed"):
        read_tensors(packed, "b")
    _packed_again(plain, file, zipfile.ZIP_STORED)
    with zipfile.ZipFile(file, "a") as archive:
        largest = max(archive.infolist(), key=lambda record: record.file_size)
        for number in range(50):
            twin = copy.copy(largest)
            twin.filename = f"{largest.filename}{number}"
            archive.filelist.append(twin)
        archive.writestr("last", "")
    with pytest.raises(ModelError, match="longer than the file"):
        read_tensors(file.read_bytes(), "b")
    torch.save({"w": torch.ones(2)}, file, _use_new_zipfile_serialization=False)
    assert read_tensors(file.read_bytes(), "b")["w"].sum() == 2


@pytest.mark.parametrize(
    "said", [b".", b"\x80\x02].", b"\x80\x02}q\x00a.", b"\x80\x02K\x01K\x02\x86b."]
)
def test_a_malformed_pickle_is_a_sentence(tmp_path, said):
    file = tmp_path / "odd.pt"
    torch.save({"w": torch.ones(2)}, file)
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as given:
        records = {name: given.read(name) for name in given.namelist()}
    with zipfile.ZipFile(file, "w") as made:
        for name, record in records.items():
            made.writestr(name, said if name.endswith("/data.pkl") else record)
    with pytest.raises(ModelError, match="weights of the model 'b'"):
        read_tensors(file.read_bytes(), "b")


def test_weights_that_are_replaced_while_in_use_are_refused(tmp_path):
    bundle = read_bundle(unet_bundle(tmp_path / "b"))
    first = bundle.sha256
    unet_bundle(tmp_path / "other", weights=build(UNET, seed=1).state_dict())
    other = (tmp_path / "other" / "models" / "model.pt").read_bytes()
    bundle.weights_file.write_bytes(other)
    assert bundle.sha256 == first
    with pytest.raises(ModelError, match="changed while in use"):
        bundle.load_networks()
    assert read_bundle(bundle.folder).load_networks()


def _loads(folder, path, **changes):
    loader = {"_target_": "CheckpointLoader", "load_path": path, **changes}
    content = config(UNET, transforms(RANGE), handlers=[loader])
    return write_bundle(folder, metadata(["background", "liver", "tumor"]), content)


@pytest.mark.parametrize(
    "path",
    ["/data/models/liver/models/model.pt", "models/model.pt", "C:\\models\\model.pt"],
)
def test_a_bundle_may_lie_in_a_folder_of_models(tmp_path, path):
    bundle = read_bundle(_loads(tmp_path / "b", path))
    assert bundle.weights_file == bundle.folder / "models" / "model.pt"


@pytest.mark.parametrize("path", ["/data/fine-tuned/best.pt", "mymodels/model.pt"])
def test_other_weights_than_the_config_loads_are_not_taken(tmp_path, path):
    _says(_loads(tmp_path / "b", path), "loads weights from outside the bundle")
    read_bundle(_loads(tmp_path / "c", path, _disabled_=True))


def test_a_link_to_weights_elsewhere_is_refused(tmp_path):
    folder = unet_bundle(tmp_path / "b")
    file = folder / "models" / "model.pt"
    file.rename(tmp_path / "elsewhere.pt")
    file.symlink_to(tmp_path / "elsewhere.pt")
    _says(folder, "no weights")


def _own_code(folder, note):
    """Write a bundle whose network is its own code, which leaves a note."""
    network = {"_target_": "scripts.special.Special", "out_channels": 3}
    weights = torch.nn.Conv3d(1, 3, 1).state_dict()
    unet_bundle(folder, network=network, weights=weights)
    (folder / "scripts").mkdir()
    (folder / "scripts" / "__init__.py").write_text("")
    (folder / "scripts" / "special.py").write_text(
        "import pathlib, torch\n"
        f"pathlib.Path({str(note)!r}).touch()\n"
        "class Special(torch.nn.Conv3d):\n"
        "    def __init__(self, out_channels):\n"
        "        super().__init__(1, out_channels, 1)\n"
    )
    return folder


def test_own_code_runs_only_where_it_is_trusted_as_it_is(tmp_path):
    note = tmp_path / "ran"
    folder = _own_code(tmp_path / "special", note)
    assert "scripts.special.Special" in _says(folder, r"line \d+", ForeignCodeError)
    assert not note.exists()
    trust(folder, "special")
    bundle = read_bundle(folder)
    assert "Code of its own" in bundle.notice
    (network,) = bundle.load_networks()
    assert note.exists()
    assert network(torch.zeros(1, 1, 2, 2, 2)).shape == (1, 3, 2, 2, 2)
    assert not [name for name in sys.modules if name.startswith("scripts")]
    bundle.load_networks()  # nothing was left in the folder that changes it
    code = folder / "scripts" / "special.py"
    code.write_text(code.read_text() + "# changed\n")
    with pytest.raises(ModelError, match="not the code that was trusted"):
        bundle.load_networks()
    _says(folder, r"line \d+", ForeignCodeError)


def test_a_folder_that_is_linked_into_a_trusted_one_counts(tmp_path):
    folder = _own_code(tmp_path / "special", tmp_path / "ran")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("")
    before = trust(folder, "special")
    (folder / "numpy").symlink_to(foreign)
    assert not is_trusted(folder)
    _says(folder, r"line \d+", ForeignCodeError)
    linked = trust(folder, "special")
    (foreign / "__init__.py").write_text("import os\n")
    assert not is_trusted(folder)
    (foreign / "__init__.py").write_text("")
    assert fingerprint(folder) == linked
    (folder / "numpy").rename(folder / "torch")
    assert fingerprint(folder) not in (before, linked)
    (folder / "torch").unlink()
    assert fingerprint(folder) == before


def test_links_that_lead_round_in_a_circle_come_to_an_end(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "m" / name).mkdir(parents=True)
        (tmp_path / "m" / name / "x").write_text(name)
    said = hashlib.sha256()
    for name in ("a/x", "b/x"):
        text = hashlib.sha256(name[0].encode()).digest()
        said.update((3).to_bytes(8, "big") + name.encode() + text)
    assert fingerprint(tmp_path / "m") == said.hexdigest(), "as noted by older versions"
    seen = {said.hexdigest()}
    for place, target in (
        ("a/all", tmp_path / "m"),
        ("b/a", tmp_path / "m" / "a"),
        ("a/b", tmp_path / "m" / "b"),
        ("up", tmp_path),
        ("self", tmp_path / "m" / "self"),
    ):
        (tmp_path / "m" / place).symlink_to(target)
        seen.add(fingerprint(tmp_path / "m"))
    # The last one leads nowhere, so that nothing could be imported by it.
    assert len(seen) == 5


def test_reading_a_bundle_leaves_torch_out(tmp_path):
    folder = whole_body_bundle(tmp_path / "b")
    code = (
        "import sys; from napari_liverseg.models.store import find_model;"
        f"assert find_model({str(folder)!r}).card;"
        "assert not {'torch', 'monai', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_swin_without_einops_names_the_pip_command(tmp_path, monkeypatch):
    bundle = read_bundle(swin_bundle(tmp_path / "b"))
    real = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name: None if name == "einops" else real(name),
    )
    with pytest.raises(Exception, match=r"napari-liverseg\[bundles\]"):
        bundle.load_networks()
    assert (
        SWIN["_target_"]
        == json.loads(_inference(tmp_path / "b").read_text())["network_def"]["_target_"]
    )
