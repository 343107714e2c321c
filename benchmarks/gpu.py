"""Speed and memory on an NVIDIA GPU: ``python -m benchmarks.gpu [PART ...]``.

Each part runs in a process of its own, so that one that fails, or that breaks the
driver's state, is told and costs no other. Results go to ``results/gpu.json``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.setting import Setting

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULT = Path(__file__).parent / "results" / "gpu.json"

PARTS = {
    "W1": "rates:monai",
    "W2": "rates:nnunet",
    "B1": "engine:same_windows",
    "B2": "engine:best_mode",
    "B3": "nnunet:whole_call",
    "cap": "capped:main",
    "B4": "coarse:main",
    "B5": "nnunet:way_back",
}
"""Where each part is found, those first that say most about a GPU."""

BUDGET_S = 460
"""Of all parts together; one that would begin later is left out."""

LONGEST_S = 150
"""Of one part."""


@dataclass(frozen=True)
class Outcome:
    """What came of a part: its rows, or why there are none."""

    rows: tuple[dict[str, Any], ...] = ()
    reason: str = ""


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts asked for, all without any; return 0 when each gave its rows.

    Without the device nothing is written and 1 is returned: whoever waits for
    figures must not take silence for success.
    """
    parser = _parser()
    asked = parser.parse_args(words)
    unknown = sorted({*asked.parts} - PARTS.keys())
    if unknown:
        parser.error(f"no part is called {unknown[0]}; there are {', '.join(PARTS)}")
    setting = Setting(asked.device, asked.tiny)
    if asked.measure:
        print(json.dumps(measure(asked.measure, setting)))
        return 0
    try:
        setting = Setting(_present(asked.device), asked.tiny)
    except LookupError as missing:
        print(f"{missing} Nothing was measured.", file=sys.stderr)
        return 1
    failed = run_all(asked.parts or list(PARTS), setting, asked.out)
    return 1 if failed else 0


def run_all(parts: Sequence[str], setting: Setting, out: Path) -> dict[str, str]:
    """Run parts one after the other, keep what is known after each, return failures.

    Parameters
    ----------
    parts : sequence of str
        Of `PARTS`.
    setting : Setting
    out : Path
        JSON with the machine, the card, the rows and why parts failed.
    """
    from benchmarks.__main__ import machine
    from benchmarks.card import describe

    until = time.monotonic() + BUDGET_S
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    about = {"machine": machine(), "card": describe(setting.device)}
    with tempfile.TemporaryDirectory() as data:
        for part in parts:
            outcome = run_apart(part, setting, until - time.monotonic(), Path(data))
            rows += outcome.rows
            for row in outcome.rows:
                print(_line(row), flush=True)
            if outcome.reason:
                failed[part] = outcome.reason
                print(f"{part:4} failed: {outcome.reason}", flush=True)
            content = {**about, "is_tiny": setting.is_tiny, "rows": rows}
            text = json.dumps({**content, "failed": failed}, indent=1)
            out.write_text(f"{text}\n", encoding="utf-8")
    return failed


def run_apart(part: str, setting: Setting, left_s: float, data: Path) -> Outcome:
    """Run a part in a process of its own.

    Parameters
    ----------
    part : str
    setting : Setting
    left_s : float
        Seconds that may still pass.
    data : Path
        Data folder of the run: which way of computing is best on this card is
        measured anew, and once.
    """
    if left_s <= 0:
        return Outcome(reason=f"left out: {BUDGET_S} s were over")
    command = [sys.executable, "-m", "benchmarks.gpu", "--measure", part]
    command += ["--device", setting.device, *(["--tiny"] if setting.is_tiny else [])]
    limit_s = min(left_s, LONGEST_S)
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "NAPARI_LIVERSEG_DATA": str(data)},
        )
    except subprocess.TimeoutExpired:
        return Outcome(reason=f"stopped after {limit_s:.0f} s")
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"]
        return Outcome(reason=said[-1])
    return Outcome(tuple(json.loads(ended.stdout.splitlines()[-1])))


def measure(part: str, setting: Setting) -> list[dict[str, Any]]:
    """Return the rows of a part, measured in this process."""
    import torch

    module, _, name = PARTS[part].partition(":")
    with torch.inference_mode():
        found = getattr(importlib.import_module(f"benchmarks.{module}"), name)(setting)
    rows = found if isinstance(found, list) else [found]
    return [row.as_dict() for row in rows]


def _present(device: str) -> str:
    """Return a device's own name, or raise `LookupError` where it is not there."""
    from napari_liverseg.core.errors import DeviceError
    from napari_liverseg.inference.devices import resolve

    try:
        return resolve(device).name
    except DeviceError as error:
        raise LookupError(error.found) from error


def _line(row: dict[str, Any]) -> str:
    ratio = f"{row['ratio']:.2f}x ({row['low']:.2f}-{row['high']:.2f})"
    verdict = "" if row["holds"] else "VOID: "
    return f"{row['id']:4} {ratio:22} {row['work']}, against {row['against']}. " + (
        f"{verdict}{row['gate']}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--tiny", action="store_true", help="prove that it runs")
    parser.add_argument("--measure", choices=PARTS, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
