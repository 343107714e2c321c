"""Step 2: run a model on the case."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout

from napari_liverseg.batch.address import is_address
from napari_liverseg.inference.loading import is_loaded, loading
from napari_liverseg.inference.options import Listener
from napari_liverseg.models.store import list_models
from napari_liverseg.ui import cluster_device, figures
from napari_liverseg.ui.button import allow, primary_button, wrapped
from napari_liverseg.ui.job import JobSlot
from napari_liverseg.ui.line import Line
from napari_liverseg.ui.message import Message
from napari_liverseg.ui.plan_line import PlanLine, Question
from napari_liverseg.ui.progress_row import ProgressRow
from napari_liverseg.ui.run_options import RunOptionsBox
from napari_liverseg.ui.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_liverseg.core.probabilities import Probabilities
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.inference.options import RunOptions
    from napari_liverseg.models.contract import Model
    from napari_liverseg.ui.session import Session

AUTO = "Automatic"
NVIDIA = {"cuda": "NVIDIA GPU (cuda)"}
APPLE = {"mps": "Apple GPU (mps)"}


class SegmentSection(Section):
    """Chooses a model and a device, and segments."""

    def __init__(self, session: Session) -> None:
        super().__init__(2, "Segment")
        self._session = session
        self._volume: CTVolume | None = None
        self._title = ""
        self._run = 0
        self.slot = JobSlot("Segmenting", self)
        self.slot.done.connect(self._on_done)
        self.slot.failed.connect(self._on_failed)
        self.slot.stopped.connect(self._on_stopped)
        self.slot.started.connect(self.refresh)
        self.slot.ended.connect(self.refresh)
        self.slot.ended.connect(self._ask_plan)
        self.model = QComboBox()
        self.model.setAccessibleName("Model")
        self.model.currentIndexChanged.connect(self._on_model)
        self.card = Line()
        self.device = QComboBox()
        self.device.setAccessibleName("Device")
        self.device.setToolTip("Where to compute; Automatic takes the fastest")
        self.device.currentIndexChanged.connect(self._ask_plan)
        cluster_device.ClusterDevice(self.device, self.messages)
        for box in (self.model, self.device):  # a name may be wider than the dock
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        self.run = primary_button("Segment", "", self.segment)
        self.progress = ProgressRow(self.slot, stops=True)
        self.options = RunOptionsBox()
        self.options.look.currentIndexChanged.connect(self._ask_plan)
        self.plan = PlanLine()
        self.plan.mirrors.connect(self.options.fit)
        self._news = RunNews(self)
        self._news.planned.connect(self._on_plan)
        self._news.found.connect(self._on_partial)
        self.result = Line()
        form = QFormLayout()
        form.addRow("Model", self.model)
        form.addRow(self.card)
        form.addRow("Device", self.device)
        self.add(form)
        for widget in (
            self.options,
            self.run,
            self.progress,
            self.plan,
            self.result,
            self.messages,
        ):
            self.add(widget)
        self.list_anew()
        self._fill_devices()
        session.case_changed.connect(self._on_case)
        self.refresh()

    @property
    def spec(self) -> Model | None:
        """The chosen model."""
        return self.model.currentData()

    def segment(self) -> None:
        """Run the chosen model on the case in the background."""
        volume, spec = self._session.volume, self.spec
        if volume is None or spec is None:
            return
        self._volume, self._title = volume, self.listed(spec.name)
        self.messages.clear_all()
        self.result.clear()
        self.plan.give_way()
        self._run += 1
        ask = Request(
            spec,
            self.device.currentData(),
            volume,
            self.options.options(self._session.slice_in_view),
            self._news.listener(self._run),
        )
        self.slot.start(partial(predict, ask))

    def use_model(self, name: str) -> None:
        """Choose a model by its name, be it new in the list or not."""
        self.list_anew()
        if name in self._names:
            self.model.setCurrentIndex(self._names.index(name))

    def listed(self, name: str) -> str:
        """Return what the list calls a model; its name where it is not listed."""
        names = self._names
        return self.model.itemText(names.index(name)) if name in names else name

    def list_anew(self) -> None:
        """List the models that there are now; the chosen one stays chosen."""
        chosen = self.spec.name if self.spec else ""
        models = list_models()
        self.model.clear()
        for spec, text in zip(models, told_apart(models), strict=True):
            self.model.addItem(text, spec)
        if chosen in self._names:
            self.model.setCurrentIndex(self._names.index(chosen))
        self._on_model()

    def close_down(self) -> None:
        """Stop a run and take no notice of its end."""
        self.slot.drop()
        self.plan.stop()

    def refresh(self) -> None:
        """Allow what is possible now, and say why the rest is not."""
        reason = ""
        if self._session.volume is None:
            reason = "Open a CT first"
        elif self.spec is None:
            reason = "No model is installed"
        elif self.slot.running:
            reason = "A run is in progress"
        allow(self.run, reason, "Find the liver and its tumours")

    @property
    def _names(self) -> list[str]:
        return [self.model.itemData(i).name for i in range(self.model.count())]

    def _on_case(self) -> None:
        if self._session.volume is not self._volume:
            self.slot.drop()
            self.result.clear()
            self.set_status("")
            self.messages.clear_all()
        self.refresh()
        self._ask_plan()

    def _ask_plan(self) -> None:
        """Have the run that is set up looked at; one on a cluster is planned there.

        Its model is looked at here all the same.
        """
        if self.slot.running:
            return
        volume, spec = self._session.volume, self.spec
        device, look = self.device.currentData(), self.options.look.currentData()
        question = None
        if volume is not None and spec is not None:
            here = device if cluster_device.is_here(device) else None
            question = Question(spec, here, volume, look)
        self.plan.ask(question)

    def _on_plan(self, run: int, text: str) -> None:
        if run == self._run and self.slot.running:
            self.plan.tell(text)

    def _on_partial(self, run: int, labels: Any, box: Any) -> None:
        is_ours = run == self._run and self._volume is self._session.volume
        if is_ours and self.slot.running:
            self._session.show_partial(labels, box)

    def _on_model(self) -> None:
        spec = self.spec
        self.card.setText(self._notice(spec) if spec else "No model is installed.")
        self.options.fit(None)  # reading its weights is nothing for this thread
        for widget in (self.model, self.card):
            widget.setToolTip(wrapped(f"{spec.name}\n{spec.card}") if spec else "")
        self._ask_plan()

    def _notice(self, spec: Model) -> str:
        """Return what to know of a model, after its name where the list needs it."""
        if self.listed(spec.name) == spec.title:
            return spec.notice
        # The dock is narrow: the list's text is cut where the name stands.
        return f"{spec.name}. {spec.notice}".rstrip()

    def _on_done(self, probabilities: Probabilities) -> None:
        self._fill_devices()
        if self._volume is not self._session.volume:
            return
        self._session.show_result(probabilities)
        masks = self._session.masks
        if masks is None:
            return
        found, run = masks.found(), probabilities.run
        text = figures.masks(found.liver_ml, found.lesions, found.tumour_ml)
        took = f"took {figures.duration(run.seconds)} on {run.device}"
        # What the masks hold now is the next step's line; sliders change it.
        self.set_status(f"{self._title}, {took}")
        # By name: another one may have been chosen during the run.
        self.result.setText(f"{self._title} found: {text}; {took}.")
        if run.notes:
            self.messages.show_message("notes", Message("\n".join(run.notes), "note"))

    def _on_failed(self, error: Exception) -> None:
        self._fill_devices()
        self._session.drop_partial()
        self.messages.show_error("run", error)

    def _on_stopped(self) -> None:
        self._session.drop_partial()
        self.result.setText("Stopped. The masks are as they were.")

    def _fill_devices(self) -> None:
        """List the devices; before torch is loaded, those that there may be.

        A run on one that there is not ends in a sentence that says so.
        """
        chosen = self.device.currentData()
        devices = {"auto": AUTO, "cpu": "Processor (cpu)"}
        if not is_loaded():
            devices.update(APPLE if sys.platform == "darwin" else NVIDIA)
        else:
            from napari_liverseg.inference.devices import available_devices

            found = [d for d in available_devices() if d.kind != "cpu"]
            devices.update({d.name: f"{d.title} ({d.name})" for d in found})
            if chosen == "cuda":  # which one stands first: the freest
                chosen = next((d.name for d in found if d.kind == "cuda"), "auto")
        if chosen is not None and is_address(chosen):  # it may not be remembered
            devices[chosen] = cluster_device.title_of(chosen)
        devices.update(cluster_device.entries())
        self.device.clear()
        for name, title in devices.items():
            self.device.addItem(title, name)
        self.device.setCurrentIndex(max(self.device.findData(chosen), 0))


def told_apart(models: Iterable[Model]) -> list[str]:
    """Return the models' titles, with the name behind each that others have too."""
    models = tuple(models)
    often = Counter(model.title for model in models)
    return [
        model.title if often[model.title] == 1 else f"{model.title} ({model.name})"
        for model in models
    ]


class RunNews(QObject):
    """Carries what a run tells from its thread to the window's, by its number."""

    planned = Signal(int, str)
    found = Signal(int, object, object)

    def listener(self, run: int) -> Listener:
        """Return who listens to one run."""
        return Listener(
            on_plan=lambda text: self.planned.emit(run, text),
            on_partial=lambda labels, box: self.found.emit(run, labels, box),
        )


@dataclass(frozen=True, eq=False)
class Request:
    """One run that the user has asked for."""

    model: Model
    device: str
    volume: CTVolume
    options: RunOptions
    listener: Listener


def predict(
    ask: Request, on_progress: OnProgress, is_cancelled: IsCancelled
) -> Probabilities:
    """Run a model on a CT; in a job, so that PyTorch loads in its thread."""
    if is_address(ask.device):
        from napari_liverseg.batch.remote import predict_remotely

        return predict_remotely(
            ask.device,
            ask.model,
            ask.volume,
            on_progress,
            is_cancelled,
            ask.options,
            listener=ask.listener,
        )
    on_progress(0, 1, "Preparing the model")
    with loading():
        from napari_liverseg.inference.predictor import Predictor

        predictor = Predictor(ask.model, ask.device)
    return predictor.predict(
        ask.volume, on_progress, is_cancelled, ask.options, ask.listener
    )
