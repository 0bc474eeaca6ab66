"""`reelsort demo` as a newcomer types it: its own stack, real services, and a report that holds."""

import signal
import subprocess
import sys
from pathlib import Path

import orjson
import psutil
import pytest

from tests.support.clips import write_clip
from tests.support.waiting import wait_until


def demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream.cli.main", "demo", "--format", "json", "--folder", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


def processes_in(folder: Path) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if any(str(folder) in part for part in p.info["cmdline"] or [])]


@pytest.mark.stack
def test_every_generated_video_ends_as_one_label_and_nothing_stays_behind(tmp_path: Path) -> None:
    done = demo(tmp_path / "demo", "--count", "24")
    assert done.returncode == 0, done.stderr
    report = orjson.loads(done.stdout)
    assert {key: report[key] for key in ("published", "decided", "labelled", "dead", "lost", "duplicates")} == {
        "published": 24, "decided": 24, "labelled": 24, "dead": 0, "lost": 0, "duplicates": 0,
    }  # fmt: skip
    assert report["accepted"] + report["accepted_level1"] + report["to_review"] == 24
    assert report["violations"] == []
    assert report["accuracy_level2"] is not None
    assert processes_in(tmp_path) == []


@pytest.mark.stack
def test_a_users_own_files_of_every_kind_are_labelled_and_what_is_no_video_is_a_dead_letter(tmp_path: Path) -> None:
    videos = tmp_path / "mine"
    videos.mkdir()
    write_clip(videos / "平常.mp4")
    write_clip(videos / "hevc.mov", codec="libx265")
    write_clip(videos / "vp9.webm", codec="libvpx-vp9")
    write_clip(videos / "av1.mkv", codec="libsvtav1")
    (videos / "letter.mp4").write_text("this is no video")
    done = demo(tmp_path / "demo", "--videos", str(videos))
    assert done.returncode == 0, done.stderr
    report = orjson.loads(done.stdout)
    assert (report["published"], report["labelled"], report["dead"], report["lost"]) == (5, 4, 1, 0)
    assert report["accuracy_level2"] is None
    assert {path.name for path in videos.iterdir()} == {"平常.mp4", "hevc.mov", "vp9.webm", "av1.mkv", "letter.mp4"}


@pytest.mark.stack
def test_a_closed_terminal_ends_the_demo_and_everything_it_started(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "stream.cli.main", "demo", "--count", "24", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        wait_until(lambda: processes_in(folder / "postgres") or running.poll() is not None, 120)
        assert running.poll() is None
        running.send_signal(signal.SIGHUP)
        _, said = running.communicate(timeout=120)
    assert (running.returncode, said.strip()) == (130, "interrupted")
    assert processes_in(tmp_path) == []
