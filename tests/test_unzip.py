"""Zips from anyone are unpacked whole and inside their folder, or refused."""

import struct
import zipfile

import pytest

from napari_liverseg.core.errors import ModelError
from napari_liverseg.core.unzip import Limits, unzip

LIMITS = Limits(20, 50_000_000, ModelError, "give the folder")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "out"
    made.mkdir()
    return made


def _zip(path, *members, pack=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", pack) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def _special(name, mode):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def test_a_plain_zip_is_unpacked(tmp_path, folder):
    members = (("a/b.txt", b"one"), ("c.txt", b"two"))
    unzip(_zip(tmp_path / "z.zip", *members), folder, LIMITS)
    assert (folder / "a" / "b.txt").read_bytes() == b"one"
    assert (folder / "c.txt").read_bytes() == b"two"


HARMFUL = {
    "up": ((("a", b""), ("../evil", b"x")), "outside"),
    "deep up": ((("a/../../evil", b"x"),), "outside"),
    "windows up": ((("a\\..\\..\\evil", b"x"),), "outside"),
    "absolute": ((("/tmp/evil", b"x"),), "outside"),
    "drive": ((("C:/evil", b"x"),), "outside"),
    "link": (((_special("a", 0o120777), "/etc/passwd"),), "links"),
    "device": (((_special("a", 0o020666), ""),), "links"),
    "doubled": ((("a/model.pt", b"1"), ("A/MODEL.pt", b"2")), "two files of one name"),
    "file and folder": ((("a", b"1"), ("a/b", b"2")), "no whole zip"),
    "many": (tuple((str(i), b"") for i in range(21)), "21 files"),
    "big": ((("a", b"0" * 60_000_000),), "60 MB"),
}


@pytest.mark.parametrize(("members", "words"), HARMFUL.values(), ids=HARMFUL)
def test_harmful_zips_are_refused(tmp_path, folder, members, words):
    path = _zip(tmp_path / "z.zip", *members, pack=zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match=words) as refusal:
        unzip(path, folder, LIMITS)
    assert refusal.value.next_step
    assert not (tmp_path / "evil").exists()
    assert not (folder / "evil").exists()


def test_a_zip_of_a_rare_kind_is_to_be_unpacked_by_hand(tmp_path, folder):
    path = _zip(tmp_path / "z.zip", ("a", b"x" * 99), pack=zipfile.ZIP_DEFLATED)
    packed = bytearray(path.read_bytes())
    for method in (8, packed.index(b"PK\x01\x02") + 10):
        packed[method] = 9  # Deflate64
    path.write_bytes(packed)
    with pytest.raises(ModelError, match="packed in a way") as refusal:
        unzip(path, folder, LIMITS)
    assert "give the folder" in refusal.value.next_step


def test_a_bomb_is_refused_by_its_ratio_before_a_byte_is_written(tmp_path, folder):
    path = _zip(tmp_path / "z.zip", ("a", b"0" * 40_000_000), pack=zipfile.ZIP_BZIP2)
    assert path.stat().st_size < 1_000
    with pytest.raises(ModelError, match="40 MB"):
        unzip(path, folder, LIMITS)
    assert not any(folder.iterdir())


def test_a_member_that_lies_about_its_size_is_refused(tmp_path, folder):
    path = _zip(tmp_path / "z.zip", ("a", b"0" * 100_000), pack=zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    lied = content.replace(struct.pack("<I", 100_000), struct.pack("<I", 10))
    assert lied != content
    path.write_bytes(lied)
    with pytest.raises(ModelError, match="no whole zip"):
        unzip(path, folder, LIMITS)


def test_damage_and_passwords_are_refused(tmp_path, folder):
    whole = _zip(tmp_path / "z.zip", ("a", b"0123456789" * 100)).read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="no whole zip"):
        unzip(cut, folder, LIMITS)
    locked = bytearray(whole)
    locked[whole.index(b"PK\x01\x02") + 8] |= 1  # the directory's flag
    cut.write_bytes(locked)
    with pytest.raises(ModelError, match="password"):
        unzip(cut, folder, LIMITS)
