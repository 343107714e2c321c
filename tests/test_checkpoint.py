"""A checkpoint gives numbers or a refusal, whatever somebody hid in it."""

import collections
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models import checkpoint as module
from napari_liverseg.models import foreign_file
from napari_liverseg.models.checkpoint import read_checkpoint
from nnunet_case import checkpoint

FLAG = "NAPARI_LIVERSEG_TEST_CODE_RAN"


class _Runs:
    """Sets a flag when it is unpickled freely."""

    def __reduce__(self):
        return os.putenv, (FLAG, "1")


class _Evaluates:
    def __reduce__(self):
        return eval, (f"__import__('os').environ.__setitem__('{FLAG}', '1')",)


def _save(path, content, **options):
    torch.save(content, path, **options)
    return path


def _weights():
    return collections.OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.ones(4))


def _rewrite(path, change, compression=zipfile.ZIP_STORED):
    """Write a zip again, each record through `change(name, data) -> (name, data)`."""
    with zipfile.ZipFile(path) as archive:
        records = [(e.filename, archive.read(e)) for e in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records:
            archive.writestr(*change(name, data))
    return path


def test_what_nnunet_saves_is_read(tmp_path):
    path = _save(tmp_path / "checkpoint_final.pth", checkpoint(_weights()))
    content = read_checkpoint(path)
    assert torch.equal(content["network_weights"]["a"], _weights()["a"])
    assert content["trainer_name"] == "nnUNetTrainer"
    assert content["init_args"]["configuration"] == "3d_fullres"
    log = content["logging"]
    assert log["ema_fg_dice"] == [0.5, 0.75]
    assert log["seen"] == [3, True]
    assert isinstance(content["_best_ema"], np.float64)


def test_numpy_1_called_its_scalars_otherwise(tmp_path):
    path = _save(tmp_path / "old.pth", checkpoint(_weights()))

    def older(name, data):
        return name, data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")

    content = read_checkpoint(_rewrite(path, older))
    assert content["_best_ema"] == 0.5


@pytest.mark.parametrize("evil", [_Runs(), _Evaluates()])
@pytest.mark.parametrize("place", ["top", "inside", "log"])
def test_code_in_a_pickle_never_runs(tmp_path, evil, place):
    content = checkpoint(_weights())
    if place == "top":
        content = evil
    elif place == "inside":
        content["network_weights"]["c"] = evil
    else:
        content["logging"]["ema_fg_dice"].append(evil)
    path = _save(tmp_path / "evil.pth", content)
    with pytest.raises(ModelError, match="could run code") as refusal:
        read_checkpoint(path)
    assert FLAG not in os.environ
    assert os.getenv(FLAG) is None
    assert "Do not use this file" in refusal.value.next_step
    assert "weights_only" not in str(refusal.value)


def test_a_bare_pickle_is_no_checkpoint(tmp_path):
    path = tmp_path / "bare.pth"
    path.write_bytes(pickle.dumps(_Runs()))
    with pytest.raises(ModelError, match=r"PyTorch 1\.6"):
        read_checkpoint(path)
    _save(path, checkpoint(_weights()), _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match=r"PyTorch 1\.6"):
        read_checkpoint(path)
    assert os.getenv(FLAG) is None


def test_a_pickle_with_a_zip_behind_it_is_refused(tmp_path):
    archive = _save(tmp_path / "a.pth", checkpoint(_weights())).read_bytes()
    path = tmp_path / "both.pth"
    path.write_bytes(pickle.dumps(_Runs()) + archive)
    with pytest.raises(ModelError):
        read_checkpoint(path)
    assert os.getenv(FLAG) is None


def test_a_scalar_of_objects_is_refused(tmp_path):
    class Scalar:
        def __reduce__(self):
            return np._core.multiarray.scalar, (np.dtype("O"), _Runs())

    path = _save(tmp_path / "objects.pth", {"x": Scalar()})
    with pytest.raises(ModelError):
        read_checkpoint(path)
    assert os.getenv(FLAG) is None
    with pytest.raises(pickle.UnpicklingError):
        module._number(np.dtype("O"), b"12345678")
    with pytest.raises(pickle.UnpicklingError):
        module._number(np.dtype("f8"), b"1234")


def test_packed_records_are_refused_before_they_are_unpacked(tmp_path):
    path = _save(tmp_path / "bomb.pth", {"x": torch.zeros(1000)})
    _rewrite(path, lambda name, data: (name, data), zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="packed"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["../../escape", "/etc/escape", "a\\..\\escape"])
def test_names_that_lead_out_of_the_archive_are_refused(tmp_path, name):
    path = _save(tmp_path / "names.pth", {"x": torch.zeros(3)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(ModelError, match="leads out of the archive"):
        read_checkpoint(path)
    assert not (tmp_path.parent / "escape").exists()


def test_sizes_that_nothing_published_has_are_refused(tmp_path, monkeypatch):
    path = _save(tmp_path / "large.pth", checkpoint(_weights()))
    for home, name, value, words in (
        (foreign_file, "MAX_WEIGHTS_BYTES", 100, "bytes"),
        (module, "MAX_PICKLE_BYTES", 10, "its pickle has"),
        (module, "MAX_RECORDS", 3, "records"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(home, name, value)
            with pytest.raises(ModelError, match=words):
                read_checkpoint(path)


def test_a_sparse_file_of_terabytes_is_refused_by_its_length(tmp_path):
    path = tmp_path / "sparse.pth"
    with path.open("wb") as file:
        file.truncate(foreign_file.MAX_WEIGHTS_BYTES + 1)
    with pytest.raises(ModelError, match="bytes, more than"):
        read_checkpoint(path)


def test_a_record_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    path = _save(tmp_path / "claims.pth", {"x": torch.zeros(3)})
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = struct.pack("<I", 2**31)
    path.write_bytes(raw)
    with pytest.raises(ModelError, match="longer than the file"):
        read_checkpoint(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_half_a_file_is_refused(tmp_path, kept):
    path = _save(tmp_path / "half.pth", checkpoint(_weights()))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept)])
    with pytest.raises(ModelError):
        read_checkpoint(path)


@pytest.mark.parametrize("seed", range(25))
def test_damage_is_refused_or_changes_numbers_alone(tmp_path, seed):
    """Bytes of the pickle turned at random give a dictionary or a refusal."""
    path = _save(tmp_path / "damaged.pth", checkpoint(_weights()))
    rng = np.random.default_rng(seed)

    def damage(name, data):
        if not name.endswith("data.pkl"):
            return name, data
        raw = bytearray(data)
        for place in rng.integers(0, len(raw), 3):
            raw[place] = rng.integers(0, 256)
        return name, bytes(raw)

    _rewrite(path, damage)
    try:
        content = read_checkpoint(path)
    except ModelError:
        return
    assert isinstance(content, dict)


def test_something_else_than_a_dictionary_is_refused(tmp_path):
    path = _save(tmp_path / "list.pth", [torch.zeros(2)])
    with pytest.raises(ModelError, match="no dictionary"):
        read_checkpoint(path)
