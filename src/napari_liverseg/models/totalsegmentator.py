"""TotalSegmentator's weights where its own program has put them on this disk.

They are nnU-Net folders. TotalSegmentator itself is neither needed nor called.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.foreign_file import readable
from napari_liverseg.models.nnunet_folder import Origin, is_nnunet, read_nnunet
from napari_liverseg.models.nnunet_model import NnUNetModel

if TYPE_CHECKING:
    from napari_liverseg.models.contract import Model
    from napari_liverseg.models.mapping import ChannelMapping

WEIGHTS_VARIABLE = "TOTALSEG_WEIGHTS_PATH"
HOME_VARIABLE = "TOTALSEG_HOME_DIR"

LICENCE = "Apache-2.0 (TotalSegmentator)"
NOTICE = "TotalSegmentator weights: not a medical device, not for clinical use."


@dataclass(frozen=True)
class Task:
    """One of TotalSegmentator's tasks for CT that has to do with the liver.

    Parameters
    ----------
    name : str
        What TotalSegmentator calls it.
    dataset : str
        Folder of its weights.
    title : str
        What the window calls it.
    """

    name: str
    dataset: str
    title: str


TASKS = (
    Task("total", "Dataset291_TotalSegmentator_part1_organs_1559subj", "liver, 1.5 mm"),
    Task("total_fast", "Dataset297_TotalSegmentator_total_3mm_1559subj", "liver, 3 mm"),
    Task("total_6mm", "Dataset298_TotalSegmentator_total_6mm_1559subj", "liver, 6 mm"),
    Task("liver_segments", "Dataset570_ct_liver_segments", "liver from its segments"),
    Task("liver_lesions", "Dataset591_ct_liver_lesions_842subj", "lesions"),
    Task("liver_vessels", "Dataset008_HepaticVessel", "vessels and tumour"),
)
"""What is known; other datasets in the folder are no business of ours."""


WHOLE_BODY = tuple(task for task in TASKS if task.name.startswith("total"))
"""What finds the liver for weights of tumours alone, the finest first."""


@dataclass(frozen=True)
class Discovered:
    """What lies on this disk.

    Parameters
    ----------
    models : tuple of NnUNetModel
    broken : tuple of ModelError
        Why known datasets were left out.
    """

    models: tuple[NnUNetModel, ...]
    broken: tuple[ModelError, ...]


def weights_folder() -> Path:
    """Return where TotalSegmentator keeps its weights; it need not exist."""
    chosen = os.environ.get(WEIGHTS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get(HOME_VARIABLE)
    root = Path(home).expanduser() if home else Path.home() / ".totalsegmentator"
    return root / "nnunet" / "results"


def installed_tasks() -> tuple[Task, ...]:
    """Return the known tasks whose weights lie on this disk."""
    root = weights_folder()
    return tuple(task for task in TASKS if (root / task.dataset).is_dir())


def task_of(model: Model) -> Task | None:
    """Return the task whose weights a model is, wherever they lie."""
    if not isinstance(model, NnUNetModel):
        return None
    names = {model.plans.dataset, model.folder.parent.name}
    return next((task for task in TASKS if task.dataset in names), None)


def read_folder(folder: Path, mapping: ChannelMapping | None = None) -> NnUNetModel:
    """Return an nnU-Net, with what is known of it where it is one of these tasks.

    See `read_nnunet` for the mapping and the errors raised.
    """
    model = read_nnunet(folder, mapping=mapping)
    task = task_of(model)
    if task is None:
        return model
    return read_nnunet(folder, mapping=mapping, origin=_origin(task))


def discover() -> Discovered:
    """Return the models of the known tasks on this disk, without their weights.

    TotalSegmentator turns every CT to RAS before its networks see it, whatever
    reader their plans name.
    """
    models: list[NnUNetModel] = []
    broken: list[ModelError] = []
    try:
        with readable(weights_folder()):
            folders = [
                (task, folder)
                for task in installed_tasks()
                for folder in _configurations(weights_folder() / task.dataset)
            ]
    except ModelError as error:
        return Discovered((), (error,))
    for task, folder in folders:
        try:
            with readable(folder):
                models.append(read_nnunet(folder, origin=_origin(task)))
        except ModelError as error:
            found = f"TotalSegmentator's '{task.name}' was left out: {error.found}"
            broken.append(ModelError(found, error.next_step))
    return Discovered(tuple(models), tuple(broken))


def _configurations(dataset: Path) -> list[Path]:
    return sorted(path for path in dataset.iterdir() if is_nnunet(path))


def _origin(task: Task) -> Origin:
    title = f"TotalSegmentator {task.name} ({task.title})"
    return Origin(title, NOTICE, LICENCE, orientation="RAS")
