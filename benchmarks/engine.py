"""B1, B2, B8, B9: our windows against MONAI's, with the same network."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from benchmarks.ratio import LONG_REPEATS, REPEATS, Row, interleave
from benchmarks.setting import ON_CPU, Setting
from napari_liverseg.inference.fallback import first_that_fits
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.live_memory import network_bytes
from napari_liverseg.inference.look import body_mask, mask_on_image
from napari_liverseg.inference.options import Listener, RunOptions
from napari_liverseg.inference.plan import make_plan
from napari_liverseg.inference.precision import multiplies_bf16
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.inference.prepare import prepare
from napari_liverseg.inference.recipe import LOOKED_AT, choose_recipe
from napari_liverseg.inference.runner import Recipe, Runner
from napari_liverseg.inference.sums import DISK
from napari_liverseg.inference.windows import Step, Sweep, Tally
from napari_liverseg.models.contract import Input, Windows
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.phantom import make_phantom

if TYPE_CHECKING:
    from benchmarks.ratio import Pairs
    from napari_liverseg.core.probabilities import Look
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.inference.plan import Plan
    from napari_liverseg.inference.prepare import Prepared
    from napari_liverseg.models.contract import Model

STEP = Step("cpu", 1, "cpu")
FIRST_SLICES = 9
"""Slices of B8: some lie where rows of windows overlap, and wait for two of them."""

SHAPE, SPACING_MM = (200, 256, 256), (1.5, 1.5, 1.5)
TINY_SHAPE, TINY_SPACING_MM = (40, 48, 56), (7.5, 7.5, 7.5)
WINDOWS = Windows((80, 96, 112), 0.25, padding=-1.0)
TINY_WINDOWS = Windows((32, 32, 32), 0.25, padding=-1.0)
SAME = 1e-5


@cache
def _predictor(setting: Setting = ON_CPU) -> Predictor:
    """Return the starter's second stage, whose grid is the one of the windows."""
    return Predictor(find_model("starter").detail, setting.device)


@cache
def _case(setting: Setting = ON_CPU) -> tuple[CTVolume, Prepared]:
    """Return a phantom, and what the network sees of it."""
    shape = setting.pick(SHAPE, TINY_SHAPE)
    spacing_mm = setting.pick(SPACING_MM, TINY_SPACING_MM)
    volume = make_phantom(4242, shape, spacing_mm).volume
    wanted = _predictor(setting).model.input
    whole = Input(None, wanted.normalisation, crop="none")
    return volume, prepare(volume, whole)


def _windows(setting: Setting) -> Windows:
    return setting.pick(WINDOWS, TINY_WINDOWS)


def _sweep(setting: Setting, region: np.ndarray | None = None) -> Sweep:
    # MONAI's side takes no weight of tumours back.
    output = replace(_predictor(setting).model.output, tumour_weight=1.0)
    groups = Groups(output)
    return Sweep(_case(setting)[1].image, _windows(setting), groups, region=region)


def _plan(setting: Setting) -> Plan:
    predictor, sweep = _predictor(setting), _sweep(setting)
    held = network_bytes(predictor.model, lambda: predictor.networks)
    voxels = _case(setting)[0].hu.size
    return make_plan(
        predictor.model, held, predictor.fresh_device(), sweep.shape, sweep.count, 1,
        voxels,
    )  # fmt: skip


def _tally() -> Tally:
    return Tally(lambda *_: None, lambda: False, total=1)


def _ours(
    runner: Runner, setting: Setting, step: Step, region: np.ndarray | None = None
) -> torch.Tensor:
    return _sweep(setting, region).go(runner, step, _tally())


@cache
def _plain_network(setting: Setting) -> torch.nn.Module:
    """Return a network of MONAI's side: ours may lie otherwise in memory."""
    return find_model("starter").detail.load_networks()[0].to(setting.device)


def _monais(setting: Setting, batch: int) -> torch.Tensor:
    network, windows = _plain_network(setting), _windows(setting)
    image = _case(setting)[1].image[None, None]
    return sliding_window_inference(
        image, windows.patch, batch, network, windows.overlap, mode="gaussian",
        cval=-1.0, sw_device=setting.device, device=setting.device,
    )[0]  # fmt: skip


def same_windows(setting: Setting = ON_CPU) -> Row:
    """B1: float32, every window, equal to 1e-5.

    As the network comes; what the layout of processors brings is told with the gate.
    """
    # One window at a time: in batches of other sizes a GPU takes other kernels.
    step = replace(_plan(setting).steps()[0], batch=1)
    repeats = setting.repeats(REPEATS)

    def theirs() -> torch.Tensor:
        return _monais(setting, step.batch)

    def measure(recipe: Recipe) -> tuple[float, Pairs]:
        networks = _predictor(setting).networks
        runner = Runner(networks, recipe=recipe).to(setting.device)

        def ours() -> torch.Tensor:
            return _ours(runner, setting, step)

        apart = float((ours().cpu() - theirs().cpu()).abs().max())
        return apart, interleave(ours, theirs, repeats, setting.device)

    other = Recipe(channels_last=True)
    far, faster = measure(other)
    apart, pairs = measure(Recipe())
    gate = f"largest difference of a logit {apart:.1e} (at most {SAME:.0e}); "
    ratio, low, high = faster.faster()
    gate += f"{other}: {far:.1e}, {ratio:.2f}x ({low:.2f}-{high:.2f})"
    return Row(
        "B1", "same windows, float32, MONAI UNet, 256x256x200", "MONAI", ">= 1.0x",
        *pairs.faster(), gate, apart <= SAME, repeats, pairs.peaks(),
    )  # fmt: skip


def best_mode(setting: Setting = ON_CPU) -> Row:
    """B2: windows of the body alone, in the fastest way that keeps the mask.

    On a processor ways are set, not chosen: the tuning of a run judges by one window,
    and compiles in long runs alone. Compiling is not counted. Ways that do not keep the
    mask are told with the gate.
    """
    volume, prepared = _case(setting)
    step, repeats = _plan(setting).steps()[0], setting.repeats(REPEATS)
    masks: dict[str, torch.Tensor] = {}

    def theirs() -> None:
        masks["theirs"] = _monais(setting, step.batch)

    notes = ""
    for recipe in _modes(setting):
        networks = _predictor(setting).networks
        runner = Runner(networks, recipe=recipe).to(setting.device)

        def ours(runner: Runner = runner) -> None:
            body = mask_on_image(
                body_mask(volume, lambda: False), prepared.frame, volume.hu.shape
            )
            masks["ours"] = _ours(runner, setting, step, body)

        ours()
        pairs = interleave(ours, theirs, repeats, setting.device)
        both = [masks[side].cpu().argmax(0) for side in ("ours", "theirs")]
        dice, least = labels_dice(*both), least_dice(*both)
        gate = f"{recipe}: Dice {least:.5f} of tumour or of liver with tumour, "
        gate += f"whichever is less, {dice:.5f} of all labels"
        is_kept = least >= 0.999
        if is_kept:
            break
        ratio, low, high = pairs.faster()
        notes += f"; {gate}, void, {ratio:.2f}x ({low:.2f}-{high:.2f})"
    return Row(
        "B2", "the same in our best legal mode, body only", "MONAI", ">= 3x",
        *pairs.faster(), gate + notes, is_kept, repeats,
        {"batch": step.batch, **pairs.peaks()},
    )  # fmt: skip


def _modes(setting: Setting) -> tuple[Recipe, ...]:
    """Return ways to compute, the fastest first."""
    if setting.is_tiny or setting.device != "cpu":
        windows, plan = _sweep(setting).sample(LOOKED_AT), _plan(setting)
        return (choose_recipe(_predictor(setting), windows, plan, lambda: False),)
    exact = Recipe(channels_last=True, is_compiled=True)
    if not multiplies_bf16("cpu"):
        return (exact,)
    return replace(exact, precision="bfloat16"), exact


def first_slice() -> Row:
    """B8: the slice on the screen, final, against the whole mask of the CT.

    Slices all over the liver are looked at in turn, since one where rows of windows
    overlap waits for two of them. The fine model over the whole CT is what the aim
    means. The starter as it comes looks for the liver first and has few rows to do
    then; its share is told beside it.
    """
    detail = find_model("starter").detail
    changes = {"spacing_mm": (1.0, 1.5, 1.5), "patch": WINDOWS.patch}
    fine = detail.model_copy(update=changes)
    phantom = make_phantom(77, (500, 256, 256), (1.0, 1.5, 1.5))
    slices = np.flatnonzero(phantom.truth.labels.any(axis=(1, 2)))
    places = np.linspace(10, 90, FIRST_SLICES)
    shown = np.percentile(slices, places).astype(int).tolist()
    volume, few = phantom.volume, shown[::3]
    fine = fine.in_folder(detail.folder)
    shares, same = _first_shares(fine, volume, "everywhere", shown)
    other, other_same = _first_shares(find_model("starter"), volume, "liver", few)
    starters = float(np.median(other))
    return Row(
        "B8", "first correct visible slice, 512 mm of slices, fine model",
        "the full mask", "<= 0.15x", float(np.median(shares)), min(shares),
        max(shares),
        "the slice is the one of the end; the starter as it comes, its first stage "
        f"included: {starters:.2f}x ({min(other):.2f}-{max(other):.2f})",
        same and other_same, len(shares), {"starter": starters},
    )  # fmt: skip


def _first_shares(
    model: Model, volume: CTVolume, look: Look, slices: list[int]
) -> tuple[list[float], bool]:
    """Return when each slice was seen, as shares of a run, and whether all stayed."""
    predictor = Predictor(model, "cpu")
    shares, same = [], True
    for focus in slices:
        seen: list[tuple[float, np.ndarray]] = []
        started = time.perf_counter()

        def hear(labels: np.ndarray, box: tuple[slice, ...]) -> None:
            if box[0].start <= focus < box[0].stop and not seen:  # noqa: B023
                plane = np.zeros(volume.hu.shape[1:], np.uint8)
                plane[box[1], box[2]] = labels[focus - box[0].start]  # noqa: B023
                seen.append((time.perf_counter() - started, plane))  # noqa: B023

        options = RunOptions(look=look, focus=focus, tune=False)
        found = predictor.predict(
            volume, options=options, listener=Listener(on_partial=hear)
        )
        whole = time.perf_counter() - started
        decision = np.zeros(volume.hu.shape, np.uint8)
        decision[found.box] = found.decision
        shares.append(seen[0][0] / whole)
        inside = found.box[1:]  # loose parts elsewhere are cleaned away at the end
        same &= bool(np.array_equal(seen[0][1][inside], decision[focus][inside]))
    return shares, same


def out_of_memory() -> Row:
    """B9: memory runs out half-way once; the sweep goes on."""
    runner = Runner(_predictor().networks).to("cpu")
    count = _sweep(ON_CPU).count
    results = {}

    def clean() -> None:
        results["clean"] = _sweep(ON_CPU).go(runner, STEP, _tally())

    def starved() -> None:
        calls = 0

        def network(windows: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == count // 2:
                raise torch.OutOfMemoryError
            return runner(windows)

        sweep, tally = _sweep(ON_CPU), _tally()
        found, last, _ = first_that_fits(
            _plan(ON_CPU).steps(), lambda step: sweep.go(network, step, tally)
        )
        assert last.accumulate_on == DISK
        results["starved"] = found

    pairs = interleave(starved, clean, LONG_REPEATS)
    same = torch.equal(results["clean"], results["starved"])
    return Row(
        "B9", "out of memory injected half way", "a clean run", "<= 1.15x",
        *pairs.share(), "identical logits", same, LONG_REPEATS, pairs.peaks(),
    )  # fmt: skip


def labels_dice(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the Dice of liver and tumour, each voxel under its own label."""
    both = int(((ours == theirs) & (ours > 0)).sum())
    total = int((ours > 0).sum() + (theirs > 0).sum())
    return 2 * both / total if total else 1.0


def least_dice(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the smaller Dice of liver-or-tumour and of tumour."""
    dices = []
    for label in (1, 2):
        a, b = ours >= label, theirs >= label
        total = int(a.sum() + b.sum())
        dices.append(2 * int((a & b).sum()) / total if total else 1.0)
    return min(dices)
