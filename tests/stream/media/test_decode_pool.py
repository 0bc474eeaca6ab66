"""Decode children give what this process would have decoded, are replaced when they die, and leave nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from models.media.decode import decode_clip
from models.media.types import AudioPlan, FramePlan
from models.preprocess.audio import log_mel
from stream.classify.analyse import PoisonError, TransientError
from stream.media.decode_pool import DecodePool
from stream.settings import MediaSettings
from tests.support.bad_decoders import BAD_CHILD
from tests.support.clips import write_clip
from tests.support.waiting import wait_until

PLAN = FramePlan(count=4, size=32)
SOUND = AudioPlan(sample_rate=16_000, window=400, hop=160, mels=16, seconds=1.0)
PATIENCE = 60.0


def children() -> list[psutil.Process]:
    """The decode children of this process."""
    found = []
    for process in psutil.Process().children():
        try:
            if any("decode" in word for word in process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("good") / "a.mp4", seconds=1)


def deed(folder: Path, name: str) -> Path:
    path = folder / f"{name}.mp4"
    path.write_text(f"{name}\n")
    return path


def test_a_clip_is_what_this_process_would_have_decoded(good: Path) -> None:
    pool = DecodePool(MediaSettings(), PLAN, SOUND, processes=1)
    try:
        clip = pool.submit(good).result(PATIENCE)
    finally:
        pool.close()
    here = decode_clip(good, PLAN, SOUND)
    features, mask = log_mel(here.audio, SOUND)
    np.testing.assert_array_equal(clip.frames, here.frames)
    np.testing.assert_array_equal(clip.timestamps, here.timestamps)
    np.testing.assert_allclose(clip.log_mel, features, atol=1e-5)
    np.testing.assert_array_equal(clip.audio_mask, mask)
    assert (clip.duration_s, clip.width, clip.height) == (here.duration_s, here.width, here.height)
    assert clip.codec == "h264"


def test_a_clip_is_not_overwritten_by_the_next(good: Path, tmp_path: Path) -> None:
    pool = DecodePool(MediaSettings(), PLAN, None, processes=1)
    try:
        first = pool.submit(good).result(PATIENCE)
        before = first.frames.copy()
        pool.submit(write_clip(tmp_path / "b.mp4", size=(64, 96), fps=5)).result(PATIENCE)
    finally:
        pool.close()
    np.testing.assert_array_equal(first.frames, before)
    assert first.log_mel.size == 0


def test_a_child_that_dies_while_idle_costs_nothing(good: Path) -> None:
    pool = DecodePool(MediaSettings(), PLAN, None, processes=1)
    try:
        pool.submit(good).result(PATIENCE)
        (child,) = children()
        child.kill()
        assert pool.submit(good).result(PATIENCE).codec == "h264"
        (replacement,) = children()
        replacement.kill()
        wait_until(lambda: any(process.pid != replacement.pid for process in children()), PATIENCE)
    finally:
        pool.close()


def test_a_child_killed_by_someone_else_does_not_condemn_the_file(good: Path, tmp_path: Path) -> None:
    pool = DecodePool(MediaSettings(), PLAN, None, processes=1, command=BAD_CHILD)
    try:
        pool.submit(good).result(PATIENCE)
        (child,) = children()
        sleepy = tmp_path / "a.mp4"
        sleepy.write_bytes(b"nap\n")
        future = pool.submit(sleepy)
        wait_until(future.running, PATIENCE)
        child.kill()
        error = future.exception(PATIENCE)
        assert isinstance(error, PoisonError)
        assert error.code == "not_media"  # what the file is: a second child had a look at it
    finally:
        pool.close()


def test_signals_to_the_group_leave_the_children_to_their_parent(good: Path) -> None:
    pool = DecodePool(MediaSettings(), PLAN, None, processes=1)
    try:
        pool.submit(good).result(PATIENCE)
        (child,) = children()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            child.send_signal(number)
        pool.submit(good).result(PATIENCE)
        assert [process.pid for process in children()] == [child.pid]
    finally:
        pool.close()


def test_closing_fails_what_is_left_and_ends_every_child(good: Path, tmp_path: Path) -> None:
    pool = DecodePool(MediaSettings(), PLAN, None, processes=1, command=BAD_CHILD)
    pool.submit(good).result(PATIENCE)
    hanging = deed(tmp_path, "hang")
    futures = [pool.submit(hanging) for _ in range(3)]
    wait_until(futures[0].running, PATIENCE)
    pool.close(timeout=0.1)
    for future in futures:
        assert isinstance(future.exception(PATIENCE), TransientError)
    assert children() == []
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(good)


def test_a_full_queue_holds_the_submitter_back_until_the_pool_closes(tmp_path: Path) -> None:
    pool = DecodePool(MediaSettings(), PLAN, None, processes=1, command=BAD_CHILD)
    hanging = deed(tmp_path, "hang")
    futures = []
    running = pool.submit(hanging)
    wait_until(running.running, PATIENCE)

    def submit_many() -> None:
        futures.extend(pool.submit(hanging) for _ in range(3))  # the queue takes two

    submitter = threading.Thread(target=submit_many)
    submitter.start()
    wait_until(lambda: len(futures) == 2, PATIENCE)
    assert submitter.is_alive()
    pool.close(timeout=0.1)
    submitter.join(PATIENCE)
    assert all(isinstance(future.exception(PATIENCE), TransientError) for future in [running, *futures])


def test_no_descriptor_is_left_behind(good: Path, tmp_path: Path) -> None:
    def use() -> None:
        pool = DecodePool(MediaSettings(), PLAN, SOUND, processes=1, command=BAD_CHILD)
        for path in (good, deed(tmp_path, "segfault"), good):
            pool.submit(path).exception(PATIENCE)
        pool.close()

    use()
    before = len(list(Path("/proc/self/fd").iterdir()))
    use()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_pool_without_any_child_says_try_again(good: Path) -> None:
    pool = DecodePool(MediaSettings(), PLAN, None, processes=1, command=(sys.executable, "-c", "raise SystemExit(1)"))
    try:
        error = pool.submit(good).exception(PATIENCE)
    finally:
        pool.close()
    assert isinstance(error, TransientError)
    assert error.code == "decoder_unavailable"


def test_no_child_and_no_shared_memory_outlive_a_killed_parent(good: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from stream.media.decode_pool import DecodePool\n"
        "from stream.settings import MediaSettings; from models.media.types import FramePlan\n"
        "pool = DecodePool(MediaSettings(), FramePlan(4, 32), None, processes=2)\n"
        "futures = [pool.submit(Path(sys.argv[1])) for _ in range(4)]\n"
        "[future.result() for future in futures]; print('ready', flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(good)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        assert parent.stdout.readline() == b"ready\n"
        orphans = psutil.Process(parent.pid).children()
        assert len(orphans) == 2
        maps = [Path(f"/proc/{orphan.pid}/maps").read_text() for orphan in orphans]
        assert not any("/dev/shm" in text for text in maps)  # shared memory with a name would stay
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    wait_until(
        lambda: not any(orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE for orphan in orphans), PATIENCE
    )
