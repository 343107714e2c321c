"""Every speed benchmark in one table: ``python -m benchmarks [B1 B4 ...]``.

Results go to ``results/speed.json`` with the machine and the versions. The command
fails when a ratio is void, or something could not be run.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from benchmarks.ratio import Row

RESULT = Path(__file__).parent / "results" / "speed.json"
PARTS = {
    "B1": "engine:same_windows",
    "B2": "engine:best_mode",
    "B3": "nnunet:whole_call",
    "B4": "coarse:main",
    "B5": "nnunet:way_back",
    "B6": "measures:all_measures",
    "B7": "measures:moved_threshold",
    "B8": "engine:first_slice",
    "B9": "engine:out_of_memory",
    "B10": "opening:main",
}
"""Where each is found."""


def main() -> None:
    """Run those asked for, all without any."""
    wanted = sys.argv[1:] or list(PARTS)
    unknown = sorted({*wanted} - PARTS.keys())
    if unknown:
        msg = f"No benchmark is called {unknown[0]}; there are {', '.join(PARTS)}."
        raise SystemExit(msg)
    rows: dict[str, Any] = _earlier()
    failed: list[str] = []
    for part in wanted:
        try:
            row = measure(part)
        except ModuleNotFoundError as missing:
            print(f"{part}: not run, {missing}; see docs/nnunet.md")
            failed.append(part)
            continue
        print(row, flush=True)
        failed += [] if row.holds else [part]
        rows[part] = {**row.as_dict(), **machine()}
        kept = {name: rows[name] for name in PARTS if name in rows}
        RESULT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if failed:
        msg = f"Void or not run: {', '.join(failed)}."
        raise SystemExit(msg)


def measure(part: str) -> Row:
    """Return the row of a part."""
    module, _, name = PARTS[part].partition(":")
    with torch.inference_mode():
        found = getattr(importlib.import_module(f"benchmarks.{module}"), name)()
    return cast("Row", found[0] if isinstance(found, list) else found)


def _earlier() -> dict[str, Any]:
    return json.loads(RESULT.read_text("utf-8")) if RESULT.is_file() else {}


def machine() -> dict[str, str]:
    """Return processor and versions."""
    has = torch.cpu.get_capabilities()
    flags = [f for f in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if has.get(f)]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": f"{has.get('cpu_name', platform.machine())} {' '.join(flags)}",
        "cores": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": version("monai"),
    }


if __name__ == "__main__":
    main()
