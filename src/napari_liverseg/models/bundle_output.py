"""What the channels of a MONAI bundle mean, told by its metadata and postprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.models.bundle_component import chain, unfit
from napari_liverseg.models.bundle_config import refusal
from napari_liverseg.models.contract import Output
from napari_liverseg.models.mapping import map_channels

if TYPE_CHECKING:
    from napari_liverseg.models.bundle_config import Config
    from napari_liverseg.models.mapping import ChannelMapping

MAX_CHANNELS = 1_000

HARMLESS = {
    *("Invertd", "SaveImaged", "EnsureTyped", "ToDeviced", "CastToTyped"),
    *("ToTensord", "CopyItemsd", "DeleteItemsd"),
}
"""What brings masks to the CT's grid and to disk, which this program does itself."""


def image_key(metadata: Config) -> str:
    """Return the key of the one CT that a bundle takes.

    Raises
    ------
    ModelError
        When it takes several images or several channels, or is not for CT.
    """
    inputs = _formats(metadata, "inputs")
    if len(inputs) != 1:
        raise refusal(metadata, f"asks for {len(inputs)} inputs; a CT is one")
    key, said = next(iter(inputs.items()))
    modality = str(said.get("modality") or "CT")
    if modality.strip().upper() != "CT":
        raise refusal(metadata, f"says that it is for {modality[:40]}, not for CT")
    if said.get("num_channels", 1) != 1:
        raise refusal(
            metadata, f"asks for {said['num_channels']} input channels; a CT has one"
        )
    return str(key)


def read_output(
    metadata: Config,
    config: Config,
    built: Any,
    model: str,
    mapping: ChannelMapping | None,
) -> Output:
    """Return what the channels of the network mean.

    Parameters
    ----------
    metadata, config : Config
        ``configs/metadata.json`` and ``configs/inference.json``.
    built : object
        How many channels `network_def` asks for, or None where it does not say.
    model : str
        The bundle's name.
    mapping : ChannelMapping or None
        What its user says of the channels.

    Raises
    ------
    ModelError
        When the two files contradict each other, or neither they nor the user say
        which channel is the liver.
    """
    said = prediction(metadata)
    count = said.get("num_channels", built)
    if not isinstance(count, int) or not 1 <= count <= MAX_CHANNELS:
        raise refusal(metadata, "does not say how many channels the network has")
    if built is not None and built != count:
        raise refusal(
            metadata, f"speaks of {count} output channels, network_def builds {built}"
        )
    names = _channel_names(metadata, said, count)
    meant = map_channels(names, model, mapping)
    activation = _activation(config)
    if activation == "softmax":
        # What a user maps may be named in any language, its background too.
        is_known = mapping is not None and 0 not in meant.liver + meant.tumour
        if not is_known and names.get(0, "background").lower() != "background":
            raise refusal(metadata, f"calls channel 0 '{names[0]}', not 'background'")
    return Output(count, meant.liver, meant.tumour, activation)


def read_post_processing(config: Config) -> PostProcessing:
    """Return how the bundle cleans its masks: by its largest part, or not at all."""
    names = {step.name_in("monai.transforms") for step in _steps(config)}
    largest = "KeepLargestConnectedComponentd" in names
    return PostProcessing(largest_component=largest, fill_holes_cm2=0.0)


def prediction(metadata: Config) -> dict[str, Any]:
    """Return what the metadata say of the network's output."""
    outputs = _formats(metadata, "outputs")
    if "pred" in outputs:
        return outputs["pred"]
    if len(outputs) != 1:
        raise refusal(metadata, "names no output 'pred'")
    return next(iter(outputs.values()))


def _formats(metadata: Config, side: str) -> dict[str, dict[str, Any]]:
    said = metadata.content.get("network_data_format")
    formats = said.get(side) if isinstance(said, dict) else None
    if not isinstance(formats, dict) or not all(
        isinstance(v, dict) for v in formats.values()
    ):
        raise refusal(metadata, f"has no network_data_format with {side}")
    return formats


def _channel_names(
    metadata: Config, said: dict[str, Any], count: int
) -> dict[int, str]:
    named = said.get("channel_def")
    if not isinstance(named, dict) or not named:
        raise refusal(metadata, "does not say what its channels are (channel_def)")
    names: dict[int, str] = {}
    for key, name in named.items():
        if not str(key).isdecimal() or int(key) >= count:
            raise refusal(metadata, f"names a channel {key} of {count} (channel_def)")
        names[int(key)] = str(name)
    return names


def _steps(config: Config) -> Any:
    return chain(config, "postprocessing") if "postprocessing" in config.content else ()


def _activation(config: Config) -> Literal["softmax", "sigmoid"]:
    """Return whether labels exclude each other, or refuse where nothing says so."""
    found: set[Literal["softmax", "sigmoid"]] = set()
    for step in _steps(config):
        name = step.name_in("monai.transforms")
        if name == "Activationsd":
            step.only("softmax", "sigmoid", "other")
            if step.get("other") is not None:
                raise unfit(step, "with another activation")
            found |= {"softmax"} if _yes(step.get("softmax")) else set()
            found |= {"sigmoid"} if _yes(step.get("sigmoid")) else set()
        elif name == "AsDiscreted":
            found |= {"softmax"} if _yes(step.get("argmax")) else set()
            if step.get("threshold") is not None:
                found.add("sigmoid")
                if step.number("threshold") != 0.5:
                    raise unfit(step, "with a threshold other than 0.5")
        elif name not in HARMLESS | {"KeepLargestConnectedComponentd"}:
            raise unfit(step, "in its postprocessing, which this program cannot do")
    if len(found) != 1:
        raise refusal(
            config,
            "does not say in its postprocessing whether labels exclude each other "
            "(softmax, argmax) or not (sigmoid)",
        )
    return found.pop()


def _yes(value: Any) -> bool:
    return value is True or value == [True]
