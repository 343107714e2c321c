"""The command line: usage, exit codes, inspect, models, view."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import io_cases
from cli_cases import SHAPE, SPACING, phantom_ct, refused, run_process, write_nifti
from dicom_factory import Style, write_series
from napari_liverseg import __version__
from napari_liverseg.cli import main, viewer
from napari_liverseg.cli.ending import Refusals
from napari_liverseg.core.errors import CaseError
from tiny_model import write_threshold_model

COMMANDS = ("inspect", "segment", "measure", "models", "demo", "view")
SEGMENT = ["segment", "x", "-o", "y"]
MEASURE = ["measure", "--prediction", "x", "--truth", "y"]
NO_THRESHOLDS = ("0", "1", "2", "-1", "nan", "half")
SERIES_KEYS = {
    *("uid", "description", "modality", "shape", "spacing_mm"),
    *("files", "problems", "suggested"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "bands"
    return write_threshold_model(folder, spacing_mm=SPACING)


@pytest.fixture
def ct(tmp_path):
    return write_nifti(tmp_path / "ct.nii.gz", phantom_ct())


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["segment"],
        ["segment", "x"],
        *([*SEGMENT, "--threshold-liver", t] for t in NO_THRESHOLDS),
        [*SEGMENT, "--threshold-tumour", "1.5"],
        [*SEGMENT, "--device", "tpu"],
        [*SEGMENT, "--device", "cpu:1"],
        [*SEGMENT, "--decision", "guess"],
        ["measure", "--prediction", "x"],
        [*MEASURE, "--truth-labels", "5"],
        [*MEASURE, "--truth-labels", "spleen=5"],
        [*MEASURE, "--truth-labels", "liver=1,tumour=1"],
        ["models", "info"],
        ["inspect", "x", "--yaml"],
    ],
)
def test_wrong_usage_exits_with_2(words, capsys):
    assert main(words) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert "Usage: napari-liverseg" in capsys.readouterr().out


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    words = capsys.readouterr().out.split()
    assert set(COMMANDS) <= set(words)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from napari_liverseg.cli import main; main(['segment', '--help']);"
        "heavy = {'torch', 'monai', 'SimpleITK', 'pydicom', 'napari', 'qtpy', 'scipy'};"
        "print(*(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_unforeseen_errors_are_a_sentence_unless_debugged(monkeypatch, capsys, ct):
    # A bug of ours, made to order.
    def broken(path):
        raise ZeroDivisionError("of our making")

    monkeypatch.setattr("napari_liverseg.io.scan.list_series", broken)
    assert main(["inspect", str(ct)]) == 1
    assert "--debug" in refused(capsys)
    for words in (["--debug", "inspect", str(ct)], ["inspect", str(ct), "--debug"]):
        with pytest.raises(ZeroDivisionError):
            main(words)


def test_lack_of_memory_is_a_sentence_unless_debugged(monkeypatch, capsys, ct):
    def greedy(path):
        return np.empty(2**60, np.uint8)  # more than any machine has

    monkeypatch.setattr("napari_liverseg.io.scan.list_series", greedy)
    assert main(["inspect", str(ct)]) == 1
    said = refused(capsys)
    assert "not enough memory" in said
    assert "Close other programs" in said
    assert "--debug" not in said
    with pytest.raises(MemoryError):
        main(["inspect", str(ct), "--debug"])


@pytest.mark.parametrize("command", ["inspect", "segment"])
def test_errors_of_the_system_name_no_path(command, tmp_path, capsys):
    folder = tmp_path / "DOE_JANE"
    folder.mkdir()
    # A name that the system refuses with an error that quotes the whole path.
    words = [command, str(folder / f"{'x' * 300}.nii")]
    out = ["-o", str(tmp_path / "out")] if command == "segment" else []
    assert main([*words, *out]) == 1
    assert "DOE_JANE" not in refused(capsys)


def test_unforeseen_words_name_no_path(monkeypatch, capsys, ct):
    def broken(path):
        raise RuntimeError(f"sitk::ERROR: could not read {path}")

    monkeypatch.setattr("napari_liverseg.io.scan.list_series", broken)
    assert main(["inspect", str(ct)]) == 1
    said = refused(capsys)
    assert "RuntimeError" in said
    assert str(ct.parent) not in said


def test_inspect_names_the_option_of_a_decision(tmp_path, capsys):
    write_series(tmp_path, io_cases.ct(), io_cases.GRID, Style(lean_mm=0.5))
    assert main(["inspect", str(tmp_path)]) == 0
    assert "(gantry-tilt; --decision resample)" in capsys.readouterr().out


def test_inspect_tells_files_of_one_name_apart(tmp_path, capsys):
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        write_nifti(tmp_path / patient / "ct.nii.gz", phantom_ct())
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    series = json.loads(capsys.readouterr().out)["series"]
    assert {s["uid"] for s in series} == {"p1/ct.nii.gz", "p2/ct.nii.gz"}


def test_inspect_json(ct, capsys):
    assert main(["inspect", str(ct), "--json"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    (series,) = json.loads(output.out)["series"]
    assert series.keys() >= SERIES_KEYS
    assert series["shape"] == list(SHAPE)
    assert series["spacing_mm"] == pytest.approx(SPACING)
    assert series["suggested"] is True
    for problem in series["problems"]:
        assert problem.keys() == {"code", "severity", "message"}


def test_inspect_for_people(ct, capsys):
    assert main(["inspect", str(ct)]) == 0
    assert "17 x 34 x 42 voxels of 4 x 2.5 x 2 mm" in capsys.readouterr().out


def test_inspect_refuses_what_is_not_there(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "nothing.nii.gz"), "--json"]) == 1
    refused(capsys)


def test_models_list_and_info(model, monkeypatch, capsys):
    monkeypatch.setenv("NAPARI_LIVERSEG_MODELS", str(model.parent))
    assert main(["models", "list"]) == 0
    assert "bands" in capsys.readouterr().out
    assert main(["models", "list", "--json"]) == 0
    names = [m["name"] for m in json.loads(capsys.readouterr().out)["models"]]
    assert "bands" in names
    assert main(["models", "info", "bands"]) == 0
    assert "Tiny model" in capsys.readouterr().out
    assert main(["models", "info", "bands", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["spacing_mm"] == list(SPACING)
    assert Path(info["folder"]) == model
    assert main(["models", "info", "none-such"]) == 1
    refused(capsys)


def test_view_without_qt_names_the_pip_command(monkeypatch, capsys):
    monkeypatch.setattr(viewer, "QT_BINDINGS", ("NoSuchBinding",))
    assert main(["view"]) == 1
    assert 'pip install "napari-liverseg[gui]"' in refused(capsys)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11 and Wayland")
@pytest.mark.parametrize("command", ["view", "demo"])
def test_without_a_display_a_sentence_says_so(command, tmp_path):
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM", "PATH")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    done = run_process(command, env={**environment, "PATH": str(tmp_path)})
    assert done.returncode == 1
    assert "no display" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_system_refuses_is_named_without_its_folder(tmp_path, capsys):
    refusals = Refusals()
    with refusals.told("scan"):
        tmp_path.read_bytes()  # a folder
    with refusals.told("other"):
        pass
    assert [name for name, _ in refusals.reasons] == ["scan"]
    with pytest.raises(CaseError, match="1 of 2 files could not be read"):
        refusals.end(2, "files could not be read")
    said = capsys.readouterr().err
    assert said.startswith("Error in scan: ")
    assert str(tmp_path) not in said
