"""A MONAI bundle on disk as a `Model`: what its configs say, none of them run."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.bundle_checkpoint import weights_file
from napari_liverseg.models.bundle_component import Component, component, unfit
from napari_liverseg.models.bundle_config import (
    INFERENCE_FILES,
    METADATA_FILE,
    ForeignCodeError,
    read_config,
    refusal,
)
from napari_liverseg.models.bundle_input import BundleInput, read_input
from napari_liverseg.models.bundle_output import (
    image_key,
    read_output,
    read_post_processing,
)
from napari_liverseg.models.bundle_windows import read_windows
from napari_liverseg.models.fingerprint import ORIGIN_FILE, fingerprint
from napari_liverseg.models.foreign_file import refuse_absurd_weights
from napari_liverseg.models.mapping import find_mapping
from napari_liverseg.models.trust import is_trusted

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from napari_liverseg.core.probabilities import PostProcessing
    from napari_liverseg.models.contract import Input, Output, Windows
    from napari_liverseg.models.mapping import ChannelMapping

NETWORK = "network_def"

TARGETS = re.compile(r"(?:monai\.|torch\.nn\.)?[\w.]+")


@dataclass(frozen=True, eq=False)
class MonaiBundle:
    """A model as a MONAI bundle describes it.

    Parameters
    ----------
    folder : Path
        Holds ``configs`` and ``models``.
    metadata : dict
        Of ``configs/metadata.json``.
    definition : Component
        Of the network, not built.
    prepared : BundleInput
    windows : Windows
    output : Output
    post_processing : PostProcessing
    weights_file : Path
    runs_code : bool
        Whether its own code builds the network, which its user trusts.
    remarks : tuple of str
        Where this program does not do to the last bit what the config says.
    mapping : ChannelMapping or None
        What its user says of its channels; None where their names say it.
    """

    folder: Path
    metadata: dict[str, Any] = field(repr=False)
    definition: Component = field(repr=False)
    prepared: BundleInput = field(repr=False)
    windows: Windows
    output: Output
    post_processing: PostProcessing
    weights_file: Path
    runs_code: bool
    remarks: tuple[str, ...]
    mapping: ChannelMapping | None

    @property
    def name(self) -> str:
        """Its folder's name, as the command line spells names."""
        return slug(self.folder.name)

    @property
    def title(self) -> str:
        """The name in its metadata."""
        return str(self.metadata.get("name") or self.folder.name)

    @property
    def notice(self) -> str:
        """What its makers say it is for, and what is done otherwise here."""
        said = str(self.metadata.get("intended_use") or "").strip()
        trusted = "Code of its own builds its network" if self.runs_code else ""
        lines = ("MONAI bundle, not for clinical use", said, trusted, *self.remarks)
        return " ".join(f"{line.rstrip('.')}." for line in lines if line)

    @property
    def version(self) -> str:
        """The version in its metadata."""
        return str(self.metadata.get("version") or "unknown")

    @cached_property
    def sha256(self) -> str:
        """Hash of its checkpoint, in hex."""
        return hashlib.sha256(self.weights()).hexdigest()

    @property
    def files(self) -> dict[str, Path]:
        """Its configs and its weights, and our note of what they were when added."""
        note = self.folder / ORIGIN_FILE
        read = [self.folder / METADATA_FILE, self.definition.config.path]
        read += [self.weights_file, *([note] if note.is_file() else [])]
        return {path.relative_to(self.folder).as_posix(): path for path in read}

    @property
    def layers(self) -> str:
        """The network's definition; where code builds it, the hash of all files."""
        if self.runs_code:
            return fingerprint(self.folder)
        said = self.definition.config.resolve(
            self.definition.raw, self.definition.where
        )
        return json.dumps([said, self.prepared.intensity.rest], sort_keys=True)

    @property
    def card(self) -> str:
        """A few lines for a tooltip or a terminal."""
        spacing = self.input.spacing_mm
        grid = " x ".join(f"{s:g}" for s in spacing) if spacing else ""
        axes = "".join("zyx"[axis] for axis in self.input.transpose)
        lines = [
            f"{self.title}, version {self.version}",
            self.notice,
            f"Works at {grid} mm ({', '.join(axes)})."
            if grid
            else "Works at any grid.",
            "Finds liver and tumours." if self.output.tumour else "Finds no tumours.",
            _said("Trained on", self.metadata.get("data_source")),
            _said("Made by", self.metadata.get("authors")),
            _said("Measured by its makers:", self.metadata.get("eval_metrics")),
            _said("Licence:", self.metadata.get("license") or self._licence()),
        ]
        return "\n".join(line for line in lines if line)

    @property
    def input(self) -> Input:
        """What it expects of a CT."""
        return self.prepared.input

    def weights(self) -> bytes:
        """Return its checkpoint's bytes.

        Raises
        ------
        ModelError
            When the file cannot be read, or is absurdly long.
        """
        try:
            refuse_absurd_weights(self.weights_file)
            return self.weights_file.read_bytes()
        except OSError as error:
            found = f"The weights of the model '{self.name}' cannot be read."
            raise ModelError(found, "Copy the whole bundle again.") from error

    def load_networks(self) -> tuple[torch.nn.Module]:
        """Return its network with its weights, see `models.bundle_network`."""
        from napari_liverseg.models.bundle_code import load_trusted_network
        from napari_liverseg.models.bundle_network import load_bundle_network
        from napari_liverseg.models.origin import refuse_changed

        content = self.weights()
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256:  # which reports say, and was taken once
            found = f"The weights of the model '{self.name}' have changed while in use."
            raise ModelError(found, "Choose the model again.")
        refuse_changed(self, digest)
        load = load_trusted_network if self.runs_code else load_bundle_network
        rest = self.prepared.intensity.rest
        return (load(self.definition, content, self.name, rest),)

    def _licence(self) -> str:
        there = [n for n in ("LICENSE", "docs/LICENSE") if (self.folder / n).is_file()]
        return f"see {there[0]} in its folder" if there else "not stated"


def read_bundle(folder: Path, mapping: ChannelMapping | None = None) -> MonaiBundle:
    """Read a MONAI bundle without its weights and without running any of it.

    Parameters
    ----------
    folder : Path
        Holds ``configs/metadata.json``, ``configs/inference.json`` or ``.yaml``
        and ``models/model.pt``.
    mapping : ChannelMapping or None
        What its channels are; None asks the user's file, then their names.

    Raises
    ------
    ForeignCodeError
        When code of its own would have to run, with the line; a user who
        trusts the bundle's maker can say so, see `models.trust`.
    ModelError
        When a file is missing, or the bundle wants what this program cannot do.
    """
    folder = folder.resolve()
    metadata = read_config(folder, METADATA_FILE)
    config = read_config(folder, *INFERENCE_FILES)
    definition = component(config, config.content.get(NETWORK), NETWORK)
    if definition is None:
        raise refusal(config, f"names no network ({NETWORK} with a _target_)")
    channels, runs_code = _built_channels(definition, folder)
    prepared = read_input(config, image_key(metadata))
    windows, remarks = read_windows(config, prepared.intensity)
    name = slug(folder.name)
    mapping = mapping or find_mapping(name)
    return MonaiBundle(
        folder=folder,
        metadata=metadata.content,
        definition=definition,
        prepared=prepared,
        windows=windows,
        output=read_output(metadata, config, channels, name, mapping),
        post_processing=read_post_processing(config),
        weights_file=weights_file(config, folder),
        runs_code=runs_code,
        remarks=(*prepared.remarks, *remarks),
        mapping=mapping,
    )


def slug(text: str) -> str:
    """Return a name as the command line spells names: ``Whole body`` is whole-body."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    return plain[:64] or "model"


def _built_channels(definition: Component, folder: Path) -> tuple[Any, bool]:
    """Return the channels that the network says it has, and whether it needs trust."""
    try:
        _refuse_code(definition)
    except ForeignCodeError:
        if not is_trusted(folder):
            raise
        channels = definition.raw.get("out_channels")
        return channels if isinstance(channels, int) else None, True
    if definition.get("in_channels", 1) != 1:
        raise unfit(definition, "with in_channels other than 1; a CT has one")
    channels = definition.get("out_channels")
    if channels is not None and not isinstance(channels, int):
        raise unfit(definition, f"with out_channels {channels!r}")
    return channels, False


def _refuse_code(definition: Component) -> None:
    """Refuse names that cannot be a network of MONAI's, before MONAI is loaded."""
    said = definition.config.resolve(definition.raw, definition.where)
    for target in _targets(said):
        path = target.rpartition(".")[0]
        if path and not path.startswith(("monai.networks", "torch.nn")):
            raise definition.config.foreign(target, "it is no network of MONAI's")
    if definition.raw.get("_mode_", "default") != "default":
        msg = "_mode_"
        raise definition.config.foreign(msg, "only a class can be built")


def _targets(value: Any) -> list[str]:
    if isinstance(value, list):
        return [target for part in value for target in _targets(part)]
    if isinstance(value, dict):
        own = [str(value["_target_"])] if "_target_" in value else []
        return own + _targets([v for k, v in value.items() if k != "_target_"])
    return []


def _said(what: str, value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{k} {v}" for k, v in value.items())
    text = " ".join(str(value or "").split())[:300]
    return f"{what} {text}" if text else ""
