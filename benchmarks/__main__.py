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
from typing import Any

import torch

RESULT = Path(__file__).parent / "results" / "speed.json"
MODULES = {
    "engine": ("B1", "B2", "B8", "B9"),
    "nnunet": ("B3", "B5"),
    "coarse": ("B4",),
    "measures": ("B6", "B7"),
    "opening": ("B10",),
}


def main() -> None:
    """Run the modules that hold the ids asked for, all without any."""
    wanted = set(sys.argv[1:])
    rows: dict[str, Any] = _earlier()
    failed: list[str] = []
    for name, ids in MODULES.items():
        if wanted and not wanted & set(ids):
            continue
        try:
            module = importlib.import_module(f"benchmarks.{name}")
        except ModuleNotFoundError as missing:
            print(f"{', '.join(ids)}: not run, {missing}; see docs/nnunet.md")
            failed += ids
            continue
        for row in module.main():
            print(row, flush=True)
            failed += [] if row.holds else [row.id]
            rows[row.id] = {**row.as_dict(), **machine()}
            kept = dict(sorted(rows.items(), key=lambda item: int(item[0][1:])))
            RESULT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if failed:
        msg = f"Void or not run: {', '.join(failed)}."
        raise SystemExit(msg)


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
