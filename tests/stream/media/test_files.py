"""file:// is used where it lies, and only below the root."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from stream.classify.analyse import PoisonError, TransientError
from stream.media.fetch import fetch
from stream.settings import MediaSettings
from tests.support.web import BODY


def soon() -> float:
    return time.monotonic() + 30


def fetched(uri: str, settings: MediaSettings) -> bytes:
    with fetch(uri, settings, soon()) as file:
        data = file.path.read_bytes()
        assert file.size == len(data)
        return data


def poison(uri: str, settings: MediaSettings) -> str:
    with pytest.raises(PoisonError) as caught:
        fetched(uri, settings)
    return caught.value.code


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    root.mkdir()
    (root / "a.mp4").write_bytes(BODY)
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    return root


@pytest.fixture
def settings(root: Path) -> MediaSettings:
    return MediaSettings(file_root=root)


def test_a_file_is_used_in_place(root: Path, settings: MediaSettings) -> None:
    with fetch((root / "a.mp4").as_uri(), settings, soon()) as file:
        assert file.path.stat().st_ino == (root / "a.mp4").stat().st_ino
        assert file.path.read_bytes() == BODY
    assert not file.path.exists()


def test_a_root_may_itself_be_a_link(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    assert fetched((link / "a.mp4").as_uri(), MediaSettings(file_root=link)) == BODY
    assert fetched((root / "a.mp4").as_uri(), MediaSettings(file_root=link)) == BODY


def test_a_link_within_the_root_is_followed(root: Path, settings: MediaSettings) -> None:
    (root / "link.mp4").symlink_to("a.mp4")
    assert fetched((root / "link.mp4").as_uri(), settings) == BODY


def test_outside_is_refused_however_it_is_named(root: Path, tmp_path: Path, settings: MediaSettings) -> None:
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "folder").symlink_to(tmp_path)
    neighbour = tmp_path / "videos-of-others"
    neighbour.mkdir()
    (neighbour / "a.mp4").write_bytes(b"secret")
    for uri in (
        "file:///etc/passwd",
        f"file://{root}/../secret.mp4",
        f"file://{root}/%2e%2e/secret.mp4",
        f"file://{root}/link.mp4",
        f"file://{root}/folder/secret.mp4",
        f"file://{neighbour}/a.mp4",
        f"file://{root}/..%2fsecret.mp4",
        "file:///proc/self/environ",
    ):
        assert poison(uri, settings) == "path_refused", uri


def test_what_is_no_regular_file_is_refused(root: Path, settings: MediaSettings) -> None:
    os.mkfifo(root / "pipe.mp4")
    (root / "folder.mp4").mkdir()
    (root / "loop.mp4").symlink_to("loop.mp4")
    for name in ("pipe.mp4", "folder.mp4", "loop.mp4", "x" * 300):
        assert poison(f"file://{root}/{name}", settings) in {"path_refused", "not_found"}, name
    assert poison("file:///dev/zero", MediaSettings(file_root=Path("/dev"))) == "path_refused"


def test_a_link_put_in_the_way_while_we_look_does_not_count(
    root: Path, tmp_path: Path, settings: MediaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What realpath() saw as a folder of ours is a link to the outside when the file is opened."""
    (root / "folder").symlink_to(tmp_path)
    seen = root / "folder" / "secret.mp4"
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: str(seen) if Path(path) == seen else real(path))
    assert poison(seen.as_uri(), settings) == "path_refused"


def test_a_missing_file_is_poison_and_a_missing_root_is_not(root: Path, tmp_path: Path) -> None:
    assert poison((root / "no.mp4").as_uri(), MediaSettings(file_root=root)) == "not_found"
    gone = tmp_path / "unmounted"
    with pytest.raises(TransientError, match="file_root_missing"):
        fetched((gone / "a.mp4").as_uri(), MediaSettings(file_root=gone))


def test_a_file_too_large_is_refused(root: Path) -> None:
    settings = MediaSettings(file_root=root, max_bytes=len(BODY) - 1)
    assert poison((root / "a.mp4").as_uri(), settings) == "too_large"
