"""Jobs end well, are cancelled, fail, are superseded, or outlive their window."""

import threading

import pytest
from qtpy.QtCore import Qt, QThreadPool

from dock_case import hounsfield, open_case, segment, write_image
from napari_liverseg.core.errors import CancelledError, DeviceError
from napari_liverseg.core.progress import stop_if
from napari_liverseg.io.open import open_ct
from napari_liverseg.ui.job import JobSlot
from napari_liverseg.ui.progress_row import ProgressRow, time_left
from tiny_model import write_threshold_model

pytestmark = pytest.mark.gui


class Gate:
    """Work that waits in its thread until the test lets it go on."""

    def __init__(self, result=None, error=None):
        self._result, self._error = result, error
        self.entered, self.go = threading.Event(), threading.Event()

    @classmethod
    def open(cls, result):
        """Return work that waits for nothing."""
        gate = cls(result)
        gate.go.set()
        return gate

    def __call__(self, on_progress, is_cancelled):
        on_progress(1, 4, "Working")
        self.entered.set()
        while not self.go.wait(0.01):
            stop_if(is_cancelled)
        if self._error is not None:
            raise self._error
        return self._result


@pytest.fixture
def slot(make_napari_viewer):
    make_napari_viewer()
    slot = JobSlot("Testing")
    slot.heard = []
    slot.done.connect(lambda value: slot.heard.append(("done", value)))
    slot.failed.connect(lambda error: slot.heard.append(("failed", str(error))))
    slot.stopped.connect(lambda: slot.heard.append(("stopped", None)))
    yield slot
    slot.drop()


def _open(gate, qtbot):
    qtbot.waitUntil(gate.entered.is_set, timeout=5000)


def test_a_job_that_ends_well(slot, qtbot):
    gate = Gate(result=7)
    reports = []
    slot.progressed.connect(lambda *report: reports.append(report))
    with qtbot.waitSignal(slot.done):
        slot.start(gate)
        _open(gate, qtbot)
        assert slot.running
        gate.go.set()
    assert slot.heard == [("done", 7)]
    assert reports == [(1, 4, "Working")]
    assert not slot.running


def test_a_job_that_is_cancelled(slot, qtbot):
    gate = Gate()
    with qtbot.waitSignal(slot.stopped):
        slot.start(gate)
        _open(gate, qtbot)
        slot.cancel()
    assert slot.heard == [("stopped", None)]


def test_a_job_cancelled_too_late_is_still_cancelled(slot, qtbot):
    gate = Gate(result=7)
    with qtbot.waitSignal(slot.stopped):
        slot.start(gate)
        _open(gate, qtbot)
        gate.go.set()
        slot.cancel()
    assert slot.heard == [("stopped", None)]


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory"), DeviceError("a", "b"), MemoryError()]
)
def test_a_job_that_fails_says_so(slot, qtbot, error):
    gate = Gate(error=error)
    gate.go.set()
    with qtbot.waitSignal(slot.failed):
        slot.start(gate)
    assert slot.heard == [("failed", str(error))]
    assert not slot.running


def test_a_superseded_job_is_not_heard(slot, qtbot):
    old, new = Gate(result="old"), Gate(result="new")
    slot.start(old)
    _open(old, qtbot)
    slot.start(new)
    old.go.set()
    with qtbot.waitSignal(slot.done):
        new.go.set()
    qtbot.wait(50)
    assert slot.heard == [("done", "new")]


def test_progress_shows_time_left_and_cancel(slot, qtbot):
    row = ProgressRow(slot, stops=True)
    row.setObjectName("handled_widget")  # napari's name for what qtbot closes
    qtbot.addWidget(row)
    gate = Gate()
    slot.start(gate)
    _open(gate, qtbot)
    qtbot.waitUntil(lambda: "Working" in row.label.text())
    assert not row.isHidden()
    with qtbot.waitSignal(slot.stopped):
        qtbot.mouseClick(row.cancel, Qt.MouseButton.LeftButton)
    assert row.isHidden()


@pytest.mark.parametrize(
    ("elapsed_s", "share", "expected"),
    [
        (1.0, 0.5, ""),
        (10.0, 0.01, ""),
        (10.0, 0.5, "about 10 s left"),
        (60.0, 0.1, "about 9 min left"),
        (10.0, 1.0, ""),
    ],
)
def test_time_left_is_said_when_it_is_known(elapsed_s, share, expected):
    assert time_left(elapsed_s, share) == expected


@pytest.mark.parametrize("end", ["left", "left at most", "left of this fold at most"])
def test_a_time_that_the_work_tells_is_not_told_twice(row, end):
    said = f"Epoch 1 of 20: loss 0.512, about 10 min {end}"
    row._on_progress(500, 1000, said)
    assert row.label.text() == said
    row._on_progress(500, 1000, "Looking at what is left, and at the rest")
    assert row.label.text().endswith("rest, about 60 s left")


def test_work_without_a_total_has_a_busy_bar_and_no_time(row):
    row._on_progress(500, 1000, "Working")
    assert (row.bar.value(), row.bar.maximum()) == (500, 1000)
    row._on_progress(0, 0, "Measuring held-out case 3")
    assert row.label.text() == "Measuring held-out case 3"
    assert row.bar.maximum() == 0
    row._on_progress(500, 1000, "Working")
    assert (row.bar.value(), row.bar.maximum()) == (500, 1000)


@pytest.fixture
def row(slot, qtbot):
    """Return the row of a job that has run for a minute."""
    row = ProgressRow(slot, stops=True)
    row.setObjectName("handled_widget")  # napari's name for what qtbot closes
    qtbot.addWidget(row)
    slot.started.emit()
    row._began -= 60
    return row


@pytest.fixture
def dock(make_dock, qtbot, tmp_path):
    write_threshold_model(tmp_path / "models" / "tiny", spacing_mm=(4.0, 2.5, 2.0))
    dock = make_dock()
    box = dock.segment.model
    names = [box.itemData(i).name for i in range(box.count())]
    box.setCurrentIndex(names.index("tiny"))
    write_image(tmp_path / "case.nii.gz", hounsfield())
    open_case(qtbot, dock, tmp_path / "case.nii.gz")
    return dock


def _predict_with(monkeypatch, gate):
    monkeypatch.setattr(
        "napari_liverseg.ui.segment_section.predict",
        lambda _ask, report, cancelled: gate(report, cancelled),
    )


def test_out_of_memory_is_a_sentence_with_details(dock, qtbot, monkeypatch):
    gate = Gate(error=RuntimeError("CUDA out of memory. Tried to allocate"))
    gate.go.set()
    _predict_with(monkeypatch, gate)
    with qtbot.waitSignal(dock.segment.slot.failed):
        dock.segment.segment()
    message = dock.segment.messages.message("run")
    assert message.text.startswith("There was not enough memory.")
    assert "Traceback" not in message.text
    message.show_details.click()
    assert "Traceback" in message._details.toPlainText()
    assert dock.segment.run.isEnabled()


def test_a_run_that_is_cancelled_leaves_the_masks(dock, qtbot, monkeypatch):
    segment(qtbot, dock)
    before = dock.session.masks.liver.data.copy()
    gate = Gate(error=CancelledError())
    _predict_with(monkeypatch, gate)
    dock.segment.segment()
    _open(gate, qtbot)
    assert not dock.segment.run.isEnabled()
    assert dock.segment.run.toolTip() == "A run is in progress"
    with qtbot.waitSignal(dock.segment.slot.stopped):
        dock.segment.progress.cancel.click()
    assert (dock.session.masks.liver.data == before).all()
    assert dock.segment.run.isEnabled()


def test_the_window_may_close_mid_run(dock, qtbot, monkeypatch):
    gate = Gate(result="nobody wants this")
    _predict_with(monkeypatch, gate)
    dock.segment.segment()
    _open(gate, qtbot)
    dock.viewer.window.remove_dock_widget(dock)
    gate.go.set()
    qtbot.wait(100)
    assert dock.session.probabilities is None
    assert not dock.segment.slot.running
    assert "CT" in [layer.name for layer in dock.viewer.layers]


def test_a_result_for_the_case_before_is_dropped(dock, qtbot, monkeypatch, tmp_path):
    gate = Gate(result="of the first CT")
    _predict_with(monkeypatch, gate)
    dock.segment.segment()
    _open(gate, qtbot)
    write_image(tmp_path / "second.nii.gz", hounsfield(seed=1))
    open_case(qtbot, dock, tmp_path / "second.nii.gz")
    gate.go.set()
    qtbot.wait(100)
    assert dock.session.probabilities is None
    assert dock.segment.run.isEnabled()


def test_a_job_cancelled_at_its_very_end_is_cancelled(slot, qtbot):
    """After the work, and before Qt's worker looks whether to hand over its result."""

    class Result:
        @property
        def __class__(self):
            slot.cancel()
            return Result

    with qtbot.waitSignal(slot.stopped, timeout=5000):
        slot.start(Gate.open(Result()))
    assert slot.heard == [("stopped", None)]
    assert not slot.running


def test_jobs_that_wait_keep_no_other_from_running(slot, qtbot):
    """A training and a run on a cluster wait in a thread each; a CT is opened."""
    pool = QThreadPool.globalInstance()
    before = pool.maxThreadCount()
    pool.setMaxThreadCount(1)
    gates = [Gate(), Gate()]
    slots = [slot, JobSlot("Another")]
    try:
        for room, gate in zip(slots, gates, strict=True):
            room.start(gate)
        for gate in gates:
            _open(gate, qtbot)
    finally:
        for room in slots:
            room.drop()
        pool.setMaxThreadCount(before)


def test_a_ct_that_is_read_slowly_does_not_replace_a_later_one(
    dock, qtbot, monkeypatch, tmp_path
):
    entered, go = threading.Event(), threading.Event()
    second = open_ct(write_image(tmp_path / "second.nii.gz", hounsfield(seed=2)))

    def slowly(path, *choice):
        entered.set()
        go.wait(20)
        return open_ct(path, *choice)

    monkeypatch.setattr("napari_liverseg.ui.case_section.open_ct", slowly)
    dock.case.open(tmp_path / "case.nii.gz")
    qtbot.waitUntil(entered.is_set, timeout=5000)
    dock.session.open_volume(second)  # as a drop on the window does
    assert not dock.case.slot.running
    go.set()
    qtbot.wait(500)
    assert dock.session.volume is second
