"""A file that kills its decoder costs one message, and the files around it are decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.media.types import AudioPlan, FramePlan
from stream.classify.analyse import PoisonError
from stream.media.decode_pool import DecodePool
from stream.settings import MediaSettings
from tests.support.bad_decoders import BAD_CHILD
from tests.support.broken_clips import cuts
from tests.support.clips import write_clip

PLAN = FramePlan(count=4, size=32)
SOUND = AudioPlan(sample_rate=16_000, window=400, hop=160, mels=16, seconds=1.0)
PATIENCE = 60.0


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("good") / "a.mp4", seconds=1)


@pytest.fixture(scope="module")
def bad_pool() -> Iterator[DecodePool]:
    """Two children that misbehave on demand, of little memory and patience."""
    settings = MediaSettings(decode_timeout_s=2, decode_memory_bytes=400 * 2**20)
    pool = DecodePool(settings, PLAN, SOUND, processes=2, command=BAD_CHILD)
    yield pool
    pool.close()


def deed(folder: Path, name: str) -> Path:
    path = folder / f"{name}.mp4"
    path.write_text(f"{name}\n")
    return path


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("segfault", "decoder_crashed"),
        ("abort", "decoder_crashed"),
        ("exit", "decoder_crashed"),
        ("error", "decoder_crashed"),
        ("hang", "decode_timeout"),
        ("spin", "decode_timeout"),
        ("eat", "decode_memory"),
        ("eat natively", "decoder_crashed"),
        ("killed", "decode_memory"),
        ("write", "confined"),
        ("text", "not_media"),
    ],
)
def test_a_file_that_ends_its_decoder_is_poison_and_its_neighbours_are_decoded(
    bad_pool: DecodePool, good: Path, tmp_path: Path, name: str, code: str
) -> None:
    bad = deed(tmp_path, name)
    futures = [bad_pool.submit(path) for path in (good, bad, good, good)]
    error = futures[1].exception(PATIENCE)
    assert isinstance(error, PoisonError)
    assert error.code == code
    for future in (futures[0], futures[2], futures[3]):
        assert future.result(PATIENCE).frames.shape == (4, 32, 32, 3)


def test_a_missing_file_is_poison(bad_pool: DecodePool, tmp_path: Path) -> None:
    error = bad_pool.submit(tmp_path / "nothing.mp4").exception(PATIENCE)
    assert isinstance(error, PoisonError)
    assert error.code == "unreadable"


def test_every_cut_of_an_mp4_ends_as_poison_or_as_a_clip(bad_pool: DecodePool, good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    places = cuts(data, 100)
    assert len(places) == 100
    outcomes = set()
    for place in places:
        path = tmp_path / "cut.mp4"
        path.write_bytes(data[:place])
        future = bad_pool.submit(path)
        error = future.exception(PATIENCE)
        if error is None:
            assert future.result().frames.shape == (4, 32, 32, 3)
        else:
            assert isinstance(error, PoisonError)
            outcomes.add(error.code)
    assert "container" in outcomes
    assert bad_pool.submit(good).result(PATIENCE).codec == "h264"


def test_a_child_sees_no_setting_of_ours(bad_pool: DecodePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSORT_DATABASE__DSN", "postgresql://user:secret@host/db")
    bad_pool.submit(deed(tmp_path, "exit")).exception(PATIENCE)  # the next child starts with this environment
    bad_pool.submit(deed(tmp_path, "segfault")).exception(PATIENCE)
    error = bad_pool.submit(deed(tmp_path, "environment")).exception(PATIENCE)
    assert isinstance(error, PoisonError)
    assert "OPENBLAS_NUM_THREADS" in error.detail
    assert "REELSORT" not in error.detail


def test_a_file_may_be_gone_once_it_is_submitted(bad_pool: DecodePool, good: Path, tmp_path: Path) -> None:
    copy = tmp_path / "a.mp4"
    copy.write_bytes(good.read_bytes())
    naps = [bad_pool.submit(deed(tmp_path, "nap")) for _ in range(2)]
    future = bad_pool.submit(copy)
    copy.unlink()
    assert future.result(PATIENCE).codec == "h264"
    for nap in naps:
        nap.exception(PATIENCE)
