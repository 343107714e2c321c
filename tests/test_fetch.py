"""Weights are fetched whole from a real server, compared by hash, or refused."""

import hashlib
import json
import shutil
import urllib.request

import pytest

from file_server import serving
from napari_liverseg.cli import main
from napari_liverseg.core.errors import CancelledError, ModelError
from napari_liverseg.models import store
from napari_liverseg.models.download import _Redirects, download
from napari_liverseg.models.fetch import fetch
from napari_liverseg.models.origin import read_origin
from napari_liverseg.models.releases import HOME, MIRROR_VARIABLE, RELEASES, Release
from tiny_bundle import unet_bundle

CONTENT = bytes(range(256)) * 20_000
FILE = "/v1/Some.zip"


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as site:
        monkeypatch.setenv(MIRROR_VARIABLE, site.address)
        yield site


@pytest.fixture(scope="module")
def nnunet_zip(tmp_path_factory):
    """A zip laid out as TotalSegmentator's are; its files are empty."""
    folder = tmp_path_factory.mktemp("zip")
    inner = folder / "x" / "Dataset297_total" / "Trainer__nnUNetPlans__3d_fullres"
    (inner / "fold_0").mkdir(parents=True)
    for name in ("plans.json", "dataset.json"):
        (inner / name).write_text("{}")
    (inner / "fold_0" / "checkpoint_final.pth").write_bytes(b"no weights")
    return shutil.make_archive(str(folder / "packed"), "zip", folder / "x")


def _release(**changes):
    return Release(**{"name": "some", "path": FILE[1:], "finds": "x", **changes})


def _names():
    home = store.user_folder()
    return sorted(p.name for p in home.iterdir() if not p.name.startswith("."))


def test_a_broken_connection_is_taken_up_where_it_broke(site, tmp_path):
    site.files[FILE] = CONTENT
    site.cuts = [1_000_000, 2_000_000]
    told = []
    download(site.address + FILE, tmp_path / "f", lambda *said: told.append(said))
    assert (tmp_path / "f").read_bytes() == CONTENT
    starts = [asked[1] for asked in site.asked]
    assert starts == [None, "bytes=1000000-", "bytes=3000000-"]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("f")] == ["f"]
    assert told[-1][:2] == (5, 5)
    assert "of 5 MB" in told[-1][2]


def test_a_later_call_goes_on_where_an_earlier_one_was_stopped(site, tmp_path):
    site.files[FILE] = CONTENT
    with pytest.raises(CancelledError):
        download(site.address + FILE, tmp_path / "f", is_cancelled=lambda: True)
    assert not (tmp_path / "f").exists()
    begun = (tmp_path / "f.part").stat().st_size
    assert 0 < begun < len(CONTENT)
    download(site.address + FILE, tmp_path / "f")
    assert site.asked[-1][1] == f"bytes={begun}-"
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_anew(site, tmp_path):
    site.files[FILE] = CONTENT
    with pytest.raises(CancelledError):
        download(site.address + FILE, tmp_path / "f", is_cancelled=lambda: True)
    site.files[FILE] = CONTENT[::-1]
    download(site.address + FILE, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_is_asked_for_the_whole_file_again(site, tmp_path):
    site.files[FILE] = CONTENT
    site.ranges, site.cuts = False, [1_000_000]
    download(site.address + FILE, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_connection_that_breaks_again_and_again_is_given_up(site, tmp_path):
    site.files[FILE] = CONTENT
    site.cuts = [1_000_000, *[0] * 20]
    with pytest.raises(ModelError, match=r"broke after 1\.0 MB") as refusal:
        download(site.address + FILE, tmp_path / "f")
    assert "goes on from there" in refusal.value.next_step
    site.cuts = []
    download(site.address + FILE, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_missing_files_and_hosts_are_told_with_the_ways_around(site, tmp_path):
    for address in (f"{site.address}/none", "http://127.0.0.1:9/none"):
        with pytest.raises(ModelError) as refusal:
            download(address, tmp_path / "f")
        assert "--from-file" in refusal.value.next_step
    for address in ("file:///etc/passwd", "ftp://127.0.0.1/x", "here"):
        with pytest.raises(ModelError, match="no web address"):
            download(address, tmp_path / "f")


def test_redirects_are_followed_but_never_to_an_unsafe_place(site, tmp_path):
    site.files[FILE] = CONTENT
    site.moved["/moved"] = site.address + FILE
    site.moved["/local"] = "file:///etc/passwd"
    download(f"{site.address}/moved", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    with pytest.raises(ModelError, match="no file for us"):
        download(f"{site.address}/local", tmp_path / "g")
    assert not (tmp_path / "g").exists()
    secure = urllib.request.Request("https://example.org/a")
    with pytest.raises(ModelError, match="not safe"):
        _Redirects().redirect_request(secure, None, 302, "", {}, "http://example.org/a")


def test_releases_name_the_addresses_and_the_mirror(monkeypatch):
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    assert set(RELEASES) == {"liver-lesions", "liver-vessels", "total-fast"}
    for release in RELEASES.values():
        assert release.address == f"{HOME}/{release.path}"
        assert release.licence == "Apache-2.0"
        assert "not a medical device" in release.notice
    monkeypatch.setenv(MIRROR_VARIABLE, "http://mirror.local/weights/")
    path = RELEASES["total-fast"].path
    assert RELEASES["total-fast"].address == f"http://mirror.local/weights/{path}"


def test_the_first_hash_is_kept_and_later_fetches_must_have_it(site, nnunet_zip):
    with open(nnunet_zip, "rb") as file:  # noqa: PTH123
        content = file.read()
    site.files[FILE] = content
    fetched = fetch(_release())
    digest = hashlib.sha256(content).hexdigest()
    assert (fetched.sha256, fetched.proven_by) == (digest, "nothing")
    assert fetched.reason
    inner = fetched.folder / "Trainer__nnUNetPlans__3d_fullres"
    assert (inner / "fold_0" / "checkpoint_final.pth").is_file()
    assert read_origin(fetched.folder).archive_sha256 == digest
    with pytest.raises(ModelError, match="already"):
        fetch(_release())
    assert main(["models", "remove", "some", "--yes"]) == 0
    site.files[FILE] = content + b"\0"
    with pytest.raises(ModelError, match="earlier fetch"):
        fetch(_release())
    site.files[FILE] = content
    assert fetch(_release()).proven_by == "earlier fetch"
    assert _names() == ["some"]


def test_hashes_of_the_maker_and_the_user_are_compared(site, nnunet_zip, tmp_path):
    path = tmp_path / "given.zip"
    shutil.copyfile(nnunet_zip, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    site.files[FILE] = path.read_bytes()
    with pytest.raises(ModelError, match="maker"):
        fetch(_release(sha256="0" * 64))
    with pytest.raises(ModelError, match="user"):
        fetch(_release(), path, "f" * 64)
    assert _names() == []
    assert path.exists()
    assert fetch(_release(), path, digest.upper()).proven_by == "user"
    assert site.asked  # only the first was fetched
    assert len(site.asked) == 1


def test_a_model_that_can_run_is_proven_on_the_way(site, tmp_path):
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8]}
    unet_bundle(tmp_path / "x" / "inner", inferer=inferer)
    path = shutil.make_archive(str(tmp_path / "b"), "zip", tmp_path / "x")
    with open(path, "rb") as file:  # noqa: PTH123
        site.files[FILE] = file.read()
    fetched = fetch(_release())
    assert fetched.reason == ""
    assert store.find_model("some").load_networks()


def test_what_is_no_model_is_not_kept(site):
    site.files[FILE] = b"<html>please log in</html>"
    with pytest.raises(ModelError, match="no whole zip"):
        fetch(_release())
    assert _names() == []
    assert not list(store.user_folder().glob(".downloads/*"))


def test_the_command_shows_the_terms_and_waits_for_a_yes(site, nnunet_zip, capsys):
    release = RELEASES["total-fast"]
    with open(nnunet_zip, "rb") as file:  # noqa: PTH123
        site.files[f"/{release.path}"] = file.read()
    assert main(["models", "fetch", "total-fast"]) == 1
    said = capsys.readouterr().err
    for words in ("Apache-2.0", "not a medical device", site.address, "--yes"):
        assert words in said
    assert site.asked == []
    assert main(["models", "fetch", "total-fast", "--yes"]) == 0
    out = capsys.readouterr().out
    assert "SHA-256" in out
    assert "nothing could prove this first fetch" in out
    known = json.loads((store.user_folder() / ".fetched.json").read_text())
    assert known.keys() == {release.path}


def test_a_file_from_another_computer_serves_too(nnunet_zip, tmp_path, capsys):
    missing = tmp_path / "none.zip"
    words = ["models", "fetch", "liver-lesions", "--yes", "--from-file"]
    assert main([*words, str(missing)]) == 1
    assert "Dataset591_ct_liver_lesions_842subj.zip" in capsys.readouterr().err
    assert main([*words, nnunet_zip]) == 0
    assert _names() == ["liver-lesions"]


@pytest.mark.parametrize("words", [["nothing"], ["total-fast", "--sha256", "12"]])
def test_wrong_names_and_hashes_are_wrong_usage(words, capsys):
    assert main(["models", "fetch", *words]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_refusals_of_the_command_are_sentences(site, capsys):
    assert main(["models", "fetch", "liver-vessels", "--yes"]) == 1
    said = capsys.readouterr().err
    assert "Error: The server has no file for us" in said
    assert "HTTP 404" in said
