"""The starter training: it learns, goes on where it stopped, and leaves a model."""

import numpy as np
import pytest
import torch

from napari_liverseg.core.errors import ModelError
from napari_liverseg.inference.precision import FAST_BF16, multiplies_bf16
from napari_liverseg.models.network import load_network
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.sample import PatchGrid, _draw_centre
from napari_liverseg.synthesis.tissue import Tissue
from napari_liverseg.training import sampler, starter
from napari_liverseg.training.loss import liver_tumour_loss
from napari_liverseg.training.sampler import SampleStream, Sources

SMALL = PatchGrid((32, 32, 32), (9.0, 9.0, 9.0))


@pytest.fixture
def small(monkeypatch):
    """Make phantoms coarse and patches small, so that a step takes no time."""
    monkeypatch.setattr(starter, "PATCH", SMALL.shape)
    monkeypatch.setattr(starter, "CHECKPOINT_EVERY", 2)
    return Sources(None, phantom_pool=2, phantom_mm=9.0)


COARSE = starter.Stage("starter", "Starter model", "1.0.0", 9.0, 9.0, 0.0)


def test_sample_numbers_mean_the_same_sample_wherever_a_stream_starts(small):
    early = SampleStream(small, SMALL, seed=1, start=0, count=8)
    late = SampleStream(small, SMALL, seed=1, start=5, count=3)
    torch.testing.assert_close(early[6][0], late[1][0], rtol=0, atol=0)
    assert not torch.equal(early[5][0], early[6][0])
    assert early[0][0].shape == (1, *SMALL.shape)
    assert early[0][1].dtype == torch.uint8


def test_public_sources_are_drawn_when_a_folder_is_given(small, monkeypatch, tmp_path):
    made = []
    phantom = sampler.phantom_body(np.random.default_rng(0), 9.0)
    monkeypatch.setattr(sampler, "scan_body", lambda *_: made.append("scan") or phantom)
    monkeypatch.setattr(
        sampler, "atlas_body", lambda *_: made.append("atlas") or phantom
    )
    stream = SampleStream(Sources(tmp_path, phantom_pool=2), SMALL, 1, 0, 30)
    for index in range(30):
        stream[index]
    assert {"scan", "atlas"} <= set(made)


def test_loss_falls_towards_zero_for_a_right_answer_alone():
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.uint8)
    labels[:, 2:6, 2:6, 2:6] = 1
    labels[:, 3:5, 3:5, 3:5] = 2
    right = 20.0 * torch.nn.functional.one_hot(labels.long(), 3).movedim(-1, 1)
    wrong = torch.roll(right, 1, dims=1)
    assert liver_tumour_loss(right, labels) < 1e-3
    assert liver_tumour_loss(wrong, labels) > 5


def test_an_interrupted_training_ends_as_an_uninterrupted_one(small, tmp_path):
    whole = starter.train(_run(tmp_path / "whole"), COARSE)
    killed = KilledRun(tmp_path / "parts", starter.Schedule(4), "cpu", bf16=False)
    with pytest.raises(KilledError):
        starter.train(killed, COARSE)
    assert not (tmp_path / "parts" / "starter").exists()
    parts = starter.train(_run(tmp_path / "parts"), COARSE)
    a = load_network(find_model(str(whole))).state_dict()
    b = load_network(find_model(str(parts))).state_dict()
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=0, atol=0)


class KilledError(Exception):
    pass


class KilledRun(starter.Run):
    """A run that is killed right after a checkpoint."""

    def save(self):
        super().save()
        if self.step == 2:
            raise KilledError


def _run(out, steps=4):
    return starter.Run(out, starter.Schedule(steps), "cpu", bf16=False)


def test_a_run_by_the_clock_counts_the_time_before_an_interruption(small, tmp_path):
    hour = starter.Schedule(1000, minutes=60)
    run = starter.Run(tmp_path, hour, "cpu", bf16=False)
    run.seconds_before = 1800.0
    assert 0.5 <= run.done < 0.6
    run.save()
    later = starter.Run(tmp_path, hour, "cpu", bf16=False)
    later.resume()
    assert 0.5 <= later.done < 0.6
    later.seconds_before = 3600.0
    later.save()
    folder = starter.train(later, COARSE)
    # What was done is checked after each step: one is taken, none more.
    assert find_model(str(folder)).training_data.count("(2 drawn images") == 1


def test_samples_of_the_fine_stage_are_centred_in_the_liver():
    rng = np.random.default_rng(5)
    body = sampler.phantom_body(rng, 9.0)
    for _ in range(20):
        centre = _draw_centre(body, rng, inside_share=1.0)
        voxel = tuple(np.rint(centre / 9.0).astype(int))
        assert body.tissues[voxel] == Tissue.LIVER


def test_a_step_without_a_finite_gradient_changes_nothing(tmp_path):
    run = _run(tmp_path)
    before = {k: v.clone() for k, v in run.network.state_dict().items()}
    hu = torch.full((1, 1, 32, 32, 32), float("nan"))
    labels = torch.ones(1, 32, 32, 32, dtype=torch.uint8)
    assert np.isnan(run.learn(hu, labels))
    for key, value in run.network.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    run.skipped = starter.MOST_SKIPPED - 1
    with pytest.raises(ModelError, match="broke down"):
        run.learn(hu, labels)


def test_the_spec_says_what_the_model_is():
    public = starter.starter_spec(COARSE, 10, with_scan=True)
    assert "not for clinical use" in public.notice
    assert "public" in public.notice
    assert "public" not in starter.starter_spec(COARSE, 10, with_scan=False).notice


def test_a_run_takes_bfloat16_only_where_the_processor_has_it(tmp_path):
    run = starter.Run(tmp_path, starter.Schedule(4), "cpu")
    assert run.bf16 == multiplies_bf16("cpu")
    has = torch.cpu.get_capabilities()
    assert multiplies_bf16("cpu") == any(has.get(name) for name in FAST_BF16)


def test_a_run_may_begin_with_the_weights_of_a_model(small, tmp_path):
    first = find_model(str(starter.train(_run(tmp_path / "first"), COARSE)))
    folder = starter.train(_run(tmp_path / "second", steps=0), COARSE, start=first)
    begun = find_model(str(folder))
    for key, value in load_network(first).state_dict().items():
        torch.testing.assert_close(value, load_network(begun).state_dict()[key])
    assert "begun from starter 1.0.0" in begun.training_data
