"""`segment` writes a label map on the CT's grid and a report, or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

import io_cases
import measure_oracle
from cli_cases import (
    SPACING,
    affine_of,
    phantom_ct,
    phantom_labels,
    refused,
    write_nifti,
)
from dicom_factory import Style, write_series
from io_cases import GRID
from napari_liverseg.batch.cases import Case
from napari_liverseg.batch.finished import finished
from napari_liverseg.batch.order import Wish
from napari_liverseg.cli import main
from napari_liverseg.core.errors import ExportError
from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.models.store import find_model
from tiny_model import write_random_model, write_threshold_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "bands"
    return write_threshold_model(folder, spacing_mm=SPACING)


@pytest.fixture
def ct(tmp_path):
    return write_nifti(tmp_path / "DOE_JANE.nii.gz", phantom_ct())


def test_segment_writes_labels_on_the_source_grid_and_a_report(
    ct, model, tmp_path, capsys
):
    out = tmp_path / "made" / "here"
    words = [
        "segment",
        str(ct),
        "-o",
        str(out),
        "--model",
        str(model),
        "--device",
        "cpu",
    ]
    assert main([*words, "--threshold-tumour", "0.4"]) == 0
    output = capsys.readouterr()
    report = json.loads((out / "report.json").read_text())
    (small,) = report["notes"]  # the liver of this CT is no adult's
    assert "unusual" in small
    assert output.err == f"{small}\n"
    assert str(out / "labels.nii.gz") in output.out
    assert sorted(p.name for p in out.iterdir()) == ["labels.nii.gz", "report.json"]

    image = nibabel.load(out / "labels.nii.gz")
    np.testing.assert_allclose(image.affine, affine_of(), atol=1e-5)
    labels = np.asarray(image.dataobj).transpose(2, 1, 0)
    wrong = np.count_nonzero(labels != phantom_labels())
    assert wrong < 0.05 * np.count_nonzero(phantom_labels())

    report = json.loads((out / "report.json").read_text())
    voxel_ml = np.prod(SPACING) / 1000
    assert report["volumes_ml"]["liver"] == pytest.approx(
        np.count_nonzero(labels) * voxel_ml
    )
    assert report["volumes_ml"]["tumour"] == pytest.approx(
        np.count_nonzero(labels == 2) * voxel_ml
    )
    sizes = [len(c) * voxel_ml for c in measure_oracle.components(labels == 2)]
    assert report["lesions"]["count"] == len(sizes)
    assert report["lesions"]["volumes_ml"] == pytest.approx(
        sorted(sizes, reverse=True), abs=1e-4
    )
    assert report["thresholds"] == {"liver": None, "tumour": 0.4}
    assert (report["model"], report["version"]) == ("bands", "1.2")
    assert len(report["sha256"]) == 64
    assert report["device"] == "cpu"
    assert report["decisions"] == []
    assert report["seconds"] >= report["prediction_seconds"] > 0
    assert report["peak_memory_mb"] > 10
    assert {"package_version", "problems", "notes"} <= report.keys()


def test_probabilities_are_written_on_the_source_grid_where_asked_for(
    ct, model, tmp_path, capsys
):
    out = tmp_path / "out"
    words = ["segment", str(ct), "-o", str(out), "--model", str(model)]
    words += [
        "--device",
        "cpu",
        "--threshold-tumour",
        "0.4",
        "--threshold-liver",
        "0.4",
    ]
    assert main([*words, "--probabilities"]) == 0
    assert "tumour_probability.nii.gz" in capsys.readouterr().out
    found = nibabel.load(out / "labels.nii.gz")
    for name, least in (("liver", 1), ("tumour", 2)):
        written = nibabel.load(out / f"{name}_probability.nii.gz")
        np.testing.assert_allclose(written.affine, found.affine, atol=1e-6)
        values = np.asarray(written.dataobj)
        assert values.dtype == np.float32
        assert 0 <= values.min() < 0.1
        assert 0.9 < values.max() <= 1
        marked = np.asarray(found.dataobj) >= least
        np.testing.assert_array_equal(values >= 0.4, marked)
    assert main([*words, "--overwrite"]) == 0
    assert not list(out.glob("*probability*")), "of the result before"
    foreign = tmp_path / "foreign" / "tumour_probability.nii.gz"
    foreign.parent.mkdir()
    foreign.write_text("of somebody else")
    words[3] = str(foreign.parent)
    assert main(words) == 1
    assert "tumour_probability.nii.gz already" in capsys.readouterr().err
    assert foreign.read_text() == "of somebody else"


def test_the_report_names_neither_patient_nor_place(ct, model, tmp_path):
    out = tmp_path / "out"
    assert main(["segment", str(ct), "-o", str(out), "--model", str(model)]) == 0
    text = (out / "report.json").read_text()
    assert "DOE" not in text
    assert str(tmp_path) not in text


def test_a_batch_knows_the_result_again_and_takes_it_for_no_other_cts(
    ct, model, tmp_path
):
    out = tmp_path / "out" / "ct"
    words = ["segment", str(ct), "-o", str(out), "--model", str(model)]
    assert main([*words, "--device", "cpu"]) == 0
    wish = Wish(find_model(str(model)), Thresholds())
    assert finished(Case("ct", ct), tmp_path / "out", wish)
    other = tmp_path / "other" / ct.name
    other.parent.mkdir()
    shutil.copyfile(ct, other)
    os.utime(other, (1_000_000, 1_000_000))
    with pytest.raises(ExportError, match="another or an older CT"):
        finished(Case("ct", other), tmp_path / "out", wish)


def test_segment_refuses_to_replace_results_unless_told(ct, model, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("mine")
    words = ["segment", str(ct), "-o", str(out), "--model", str(model)]
    assert main(words) == 1
    assert "--overwrite" in refused(capsys)
    assert [p.name for p in out.iterdir()] == ["report.json"]
    assert (out / "report.json").read_text() == "mine"
    assert main([*words, "--overwrite"]) == 0
    assert json.loads((out / "report.json").read_text())["model"] == "bands"


def test_a_refused_ct_leaves_no_folder(model, tmp_path, capsys):
    text = tmp_path / "notes.nii"
    text.write_text("this is no CT")
    out = tmp_path / "a" / "b"
    assert main(["segment", str(text), "-o", str(out), "--model", str(model)]) == 1
    refused(capsys)
    assert not (tmp_path / "a").exists()


def test_warnings_of_the_intake_reach_the_user(model, tmp_path, capsys):
    noise = np.random.default_rng(0).normal(0, 15, phantom_ct().shape)
    grey = ((phantom_ct() + 1000 + noise) // 5).clip(0, 255).astype(np.uint8)
    path = tmp_path / "sca\x1b[31mn.mha"
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(path))
    out = tmp_path / "out"
    words = ["segment", str(path), "-o", str(out), "--model", str(model)]
    assert main(words) == 0
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if "8-bit" in line]
    assert line.startswith("Warning: ")
    assert "Open the original CT" in line
    assert "\x1b" not in said
    (problem,) = json.loads((out / "report.json").read_text())["problems"]
    assert problem == {"code": "not-hounsfield", "severity": "warning"}


@pytest.mark.parametrize(
    ("style", "options"),
    [
        (Style(lean_mm=0.5), "--decision resample"),
        (Style(repeat=(4,)), "--decision keep-first"),
        (Style(repeat=(4,), lean_mm=0.5), "--decision keep-first --decision resample"),
    ],
)
def test_a_decision_is_named_as_its_option_and_works(
    style, options, model, tmp_path, capsys
):
    write_series(tmp_path / "ct", io_cases.ct(), GRID, style)
    words = ["segment", str(tmp_path / "ct"), "-o", str(tmp_path / "out")]
    words += ["--model", str(model)]
    assert main(words) == 1
    said = refused(capsys)
    assert said.rstrip().endswith(f"Add {options}.")
    assert said.count("Add --decision") == 1
    assert main([*words, *options.split()]) == 0


def test_an_error_that_no_decision_mends_names_none(model, tmp_path, capsys):
    write_series(tmp_path / "ct", io_cases.ct(), GRID, Style(drop=(3,), repeat=(5,)))
    words = ["segment", str(tmp_path / "ct"), "-o", str(tmp_path / "out")]
    assert main([*words, "--model", str(model)]) == 1
    assert "--decision" not in refused(capsys)


def test_several_series_are_listed_with_what_each_needs(model, tmp_path, capsys):
    small = Style(series_uid="1.2.4", description="Premonitoring", prefix="P")
    write_series(tmp_path / "ct", io_cases.ct(), GRID, Style(lean_mm=0.5))
    write_series(tmp_path / "ct", io_cases.ct()[:4], GRID, small)
    words = ["segment", str(tmp_path / "ct"), "-o", str(tmp_path / "out")]
    words += ["--model", str(model)]
    assert main(words) == 1
    said = refused(capsys)
    assert "1.2.4: Premonitoring" in said
    assert "needs a decision: The gantry was tilted" in said
    assert said.count("--series UID") == said.count("--decision resample") == 1
    assert main([*words, "--series", "1.2.4"]) == 0


def test_unknown_model_and_output_in_the_way(ct, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["segment", str(ct), "-o", str(out), "--model", "none-such"]) == 1
    assert "none-such" in refused(capsys)
    out.write_text("a file")
    assert main(["segment", str(ct), "-o", str(out)]) == 1
    refused(capsys)
    assert out.read_text() == "a file"


def test_an_output_named_like_an_image_is_refused(ct, model, tmp_path, capsys):
    out = tmp_path / "mask.nii.gz"
    assert main(["segment", str(ct), "-o", str(out), "--model", str(model)]) == 1
    assert "such as 'mask'" in refused(capsys)
    assert not out.exists()


def _heed_ctrl_c():
    """Undo what a shell does to jobs in its background: they ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_with_a_sentence_and_leaves_nothing(tmp_path):
    big = np.full((240, 300, 300), 40, np.int16)
    big[0, 0, 0] = -1000  # some air, or the intake check warns
    path = write_nifti(tmp_path / "big.nii.gz", big)
    slow = write_random_model(tmp_path / "slow", spacing_mm=(2.0, 1.0, 1.0))
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "napari_liverseg.cli",
        "segment",
        path,
        "-o",
        out,
        "--model",
        slow,
    ]
    words = [str(word) for word in command]
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_ctrl_c
    ) as process:
        try:
            # Generous: a busy machine takes long to load torch.
            deadline = time.monotonic() + 240
            while not (out.exists() and list(out.glob(".unfinished-*"))):
                assert time.monotonic() < deadline
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.02)
            time.sleep(3)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=240)
        finally:
            process.kill()
    # Python ends by the signal itself when it hit while a module was loaded; a
    # shell calls both 130.
    assert process.returncode in (130, -signal.SIGINT), said
    assert said.strip() == "Stopped: nothing was written."
    assert not out.exists()


def test_a_bar_is_drawn_on_a_terminal(ct, model, tmp_path):
    pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
    leader, follower = pty.openpty()
    words = ["segment", ct, "--model", model, "--device", "cpu", "-o", tmp_path / "out"]
    command = [sys.executable, "-m", "napari_liverseg.cli", *map(str, words)]
    with subprocess.Popen(command, stderr=follower, stdout=subprocess.PIPE) as process:
        os.close(follower)
        shown = read_to_end(leader)
        said = process.stdout.read()
    os.close(leader)
    assert b"100%" in shown
    assert said.startswith(b"Liver ")


def read_to_end(terminal):
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end closed
        while part := os.read(terminal, 4096):
            shown += part
    return shown
