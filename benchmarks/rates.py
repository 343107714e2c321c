"""W1, W2: time of a 128^3 window, ours and eager PyTorch's, beside a matrix product.

A network's floating-point operations over the rate of a product of large matrices is
the least that a window could take; each side is told as a share of it. On a processor:
``python -m benchmarks.rates``.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.__main__ import machine
from benchmarks.engine import least_dice
from benchmarks.nnunet_model import FEATURES, write_model
from benchmarks.ratio import REPEATS, Row, interleave, seconds
from benchmarks.setting import ON_CPU
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.live_memory import network_bytes
from napari_liverseg.inference.plan import make_plan
from napari_liverseg.inference.precision import multiplies_bf16
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.inference.prepare import prepare
from napari_liverseg.inference.recipe import LOOKED_AT, choose_recipe, translated
from napari_liverseg.inference.runner import Runner
from napari_liverseg.inference.windows import Sweep
from napari_liverseg.models.contract import Input
from napari_liverseg.models.nnunet_folder import read_nnunet
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.phantom import make_phantom

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.setting import Setting
    from napari_liverseg.models.contract import Model

    Network = Callable[[torch.Tensor], torch.Tensor]

PATCH, TINY_PATCH = (128, 128, 128), (32, 32, 32)
TINY_FEATURES = (4, 8, 8)
SPACING_MM = (1.5, 1.5, 1.5)
SHAPE, SHAPE_MM = (128, 144, 176), (2.5, 2.5, 2.5)
TINY_SHAPE, TINY_SHAPE_MM = (32, 36, 44), (10.0, 10.0, 10.0)

MATRIX, CPU_MATRIX, TINY_MATRIX = 8192, 2048, 128
"""Rows and columns; such a product keeps every unit of a GPU, or a processor, busy."""

CALLS, CPU_CALLS = 10, 1
"""Products, or batches, that are timed together: starting them must not count."""

RESULT = Path(__file__).parent / "results" / "rates.json"


def main() -> None:
    """Measure both networks on the processor and keep the figures."""
    with torch.inference_mode():
        rows = [*monai(ON_CPU), *nnunet(ON_CPU)]
    for row in rows:
        print(row)
    content = {"rows": [row.as_dict() for row in rows], **machine()}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _calls(setting: Setting) -> int:
    return setting.repeats(CPU_CALLS if setting.device == "cpu" else CALLS)


def monai(setting: Setting) -> list[Row]:
    """Return W1, the network of the starter's first stage."""
    model = find_model("starter-3mm")
    patch = setting.pick(PATCH, TINY_PATCH)
    cut = model.model_copy(update={"patch": patch}).in_folder(model.folder)
    return _rows("W1", "MONAI UNet 16..256", cut, setting)


def nnunet(setting: Setting) -> list[Row]:
    """Return W2, an nnU-Net of full size with random weights."""
    patch = setting.pick(PATCH, TINY_PATCH)
    features = setting.pick(FEATURES, TINY_FEATURES)
    with tempfile.TemporaryDirectory() as home:
        folder = write_model(Path(home), patch, SPACING_MM, features)
        return _rows("W2", "nnU-Net 32..320", read_nnunet(folder), setting)


@dataclass(frozen=True)
class Side:
    """One way of running a network."""

    name: str
    network: Network


def _rows(name: str, what: str, model: Model, setting: Setting) -> list[Row]:
    """Return ours against eager, in both precisions, and compiled, as a graph on CUDA.

    The product compiles for long runs alone; the last row says what that brings. A
    processor that only emulates bfloat16 is spared it: a window would take minutes.
    """
    predictor = Predictor(model, setting.device)
    volume = make_phantom(
        4242, setting.pick(SHAPE, TINY_SHAPE), setting.pick(SHAPE_MM, TINY_SHAPE_MM)
    ).volume
    whole = Input(None, model.input.normalisation, crop="none")
    image = prepare(volume, whole).image
    sweep = Sweep(image, model.windows, Groups(model.output))
    plan = make_plan(
        model, network_bytes(model, lambda: predictor.networks),
        predictor.fresh_device(),
        sweep.shape, sweep.count, 1, volume.hu.size,
    )  # fmt: skip
    recipe = choose_recipe(predictor, sweep.sample(LOOKED_AT), plan, lambda: False)
    compiled = translated(recipe, setting.device)
    ours, graph = (
        Side(f"ours ({r})", Runner(predictor.networks, recipe=r).to(setting.device))
        for r in (recipe, compiled)
    )
    plain = model.load_networks()[0].to(setting.device)
    eager = Side("eager, float32", plain)
    pairs = {"a": (ours, eager), "c": (graph, eager)}
    if multiplies_bf16(setting.device):
        half = Side("eager, bfloat16 autocast", _in_bf16(plain, setting.device))
        pairs["b"] = (ours, half)
    patch = tuple(model.windows.patch)
    windows = sweep.sample(1).expand(plan.batch, 1, *patch).contiguous()
    bench = Bench(what, windows.to(setting.device), plain, setting)
    return [
        bench.row(f"{name}{letter}", *sides) for letter, sides in sorted(pairs.items())
    ]


def _in_bf16(network: Network, device: str) -> Network:
    def run(windows: torch.Tensor) -> torch.Tensor:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            return network(windows)

    return run


class Bench:
    """Windows on a device, and what a network would take at a matrix product's rate.

    Parameters
    ----------
    what : str
        What the table calls the network.
    windows : Tensor, float32, shape (n, 1, z, y, x)
    plain : Module
        The network in eager float32: the truth for every side.
    setting : Setting
    """

    def __init__(
        self, what: str, windows: torch.Tensor, plain: torch.nn.Module, setting: Setting
    ) -> None:
        self._what, self._windows, self._setting = what, windows, setting
        self._truth = plain(windows).argmax(1)
        with FlopCounterMode(display=False) as counter:
            plain(windows[:1])
        self._flop = counter.get_total_flops()
        kinds = {"float32": torch.float32}
        if multiplies_bf16(setting.device):
            kinds["bfloat16"] = torch.bfloat16
        self._flop_s = {
            name: product_flop_s(setting, kind) for name, kind in kinds.items()
        }

    def row(self, name: str, ours: Side, theirs: Side) -> Row:
        """Return the row of two sides."""
        calls, setting = _calls(self._setting), self._setting
        repeats = setting.repeats(REPEATS)

        def run(side: Side) -> None:
            for _ in range(calls):
                side.network(self._windows)

        dice = least_dice(ours.network(self._windows).argmax(1), self._truth)
        pairs = interleave(
            lambda: run(ours), lambda: run(theirs), repeats, setting.device
        )
        windows = calls * len(self._windows)
        ms, theirs_ms = (
            1000 * statistics.median(times) / windows
            for times in (pairs.ours, pairs.theirs)
        )
        least_ms = {
            name: 1000 * self._flop / rate for name, rate in self._flop_s.items()
        }
        fastest = min(least_ms, key=lambda name: least_ms[name])
        more = {
            "batch": len(self._windows),
            "gflop_a_window": self._flop / 1e9,
            "ms_a_window": ms,
            "their_ms_a_window": theirs_ms,
            "product": fastest,
            "share_of_product": least_ms[fastest] / ms,
            "their_share_of_product": least_ms[fastest] / theirs_ms,
            **{
                f"{name}_product_tflop_s": rate / 1e12
                for name, rate in self._flop_s.items()
            },
            **{
                f"most_in_{name}": theirs_ms / least for name, least in least_ms.items()
            },
            **pairs.peaks(),
        }
        gate = (
            f"Dice {dice:.5f} with eager float32; {ms:.2f} ms a window, "
            f"{100 * least_ms[fastest] / ms:.0f} % of a {fastest} matrix product's rate"
        )
        return Row(
            name, f"{self._what}, 128^3 window, {ours.name}", theirs.name, ">= 1.0x",
            *pairs.faster(), gate, dice >= 0.999, repeats, more,
        )  # fmt: skip


def product_flop_s(setting: Setting, kind: torch.dtype) -> float:
    """Return the operations a second of a product of large matrices."""
    full = CPU_MATRIX if setting.device == "cpu" else MATRIX
    n, calls = setting.pick(full, TINY_MATRIX), _calls(setting)
    a, b = (torch.randn(n, n, device=setting.device, dtype=kind) for _ in "ab")

    def products() -> None:
        for _ in range(calls):
            torch.matmul(a, b)

    products()  # the first chooses a kernel
    times = [seconds(products, setting.device) for _ in range(REPEATS)]
    return calls * 2 * n**3 / statistics.median(times)


if __name__ == "__main__":
    main()
