"""What window tests share: a dock in a real viewer, and data in a folder of its own."""

import pytest


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    """Keep journals and models of tests away from the user's."""
    monkeypatch.setenv("NAPARI_LIVERSEG_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NAPARI_LIVERSEG_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "totalsegmentator"))
    # Measuring recipes takes longer than most tests; those of it switch it on.
    monkeypatch.setenv("NAPARI_LIVERSEG_TUNING", "off")


@pytest.fixture
def make_dock(make_napari_viewer, qtbot):
    """Open docks; each lets go of its viewer before the viewer closes."""
    from napari.utils._proxies import PublicOnlyProxy

    from napari_liverseg.ui.dock import LiverDock

    docks = []

    def make(**settings):
        viewer = make_napari_viewer(**settings)
        dock = LiverDock(PublicOnlyProxy(viewer))  # as napari does
        viewer.window.add_dock_widget(dock, name="Liver segmentation")
        docks.append(dock)
        return dock

    yield make
    for dock in docks:
        dock.close_down()
        if dock.parent() is None:  # a test has taken it out of its window
            dock.deleteLater()
        qtbot.wait(20)
