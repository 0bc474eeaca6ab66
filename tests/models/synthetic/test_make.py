"""A dataset is whole or absent, the same for the same seed, and made of files that decode."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import psutil
import pytest

from models.synthetic.design import Noise
from models.synthetic.make import DATASET, MANIFEST, DatasetOptions, make_dataset
from models.training.signals_file import read_signals
from schemas.errors import UserError
from schemas.manifest import SIGNALS, ManifestRow
from tests.support.waiting import wait_until

OPTIONS = DatasetOptions(seed=4, counts={"train": 12, "test": 8})
_MAKE = (
    "from pathlib import Path; from models.synthetic.make import DatasetOptions, make_dataset; "
    "make_dataset(Path('{out}'), DatasetOptions(seed=4, counts={{'train': {count}}}))"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "set"
    make_dataset(out, OPTIONS)
    return out


def rows(out: Path) -> list[ManifestRow]:
    return [ManifestRow.model_validate_json(line) for line in (out / MANIFEST).read_text("utf-8").splitlines()]


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(made: Path, tmp_path: Path) -> None:
    make_dataset(tmp_path / "again", OPTIONS, processes=1)
    for file in sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file()):
        assert (tmp_path / "again" / file).read_bytes() == (made / file).read_bytes(), file


def test_a_split_does_not_change_when_another_grows(made: Path, tmp_path: Path) -> None:
    make_dataset(tmp_path / "more", DatasetOptions(seed=4, counts={"train": 3, "test": 8}))
    tests = [row for row in rows(made) if row.split == "test"]
    assert [row for row in rows(tmp_path / "more") if row.split == "test"] == tests


def test_every_file_decodes_to_what_the_manifest_says(made: Path) -> None:
    for row in rows(made):
        with av.open(str(made / row.path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert bool(container.streams.audio) != row.factors["no_audio"]
            frames = sum(1 for _ in container.decode(video=0))
            rate = container.streams.video[0].average_rate
            assert rate is not None
            assert row.duration_s == pytest.approx(frames / float(rate), abs=0.002)


def test_splits_share_no_video(made: Path) -> None:
    ids = [row.video_id for row in rows(made)]
    assert len(ids) == len(set(ids)) == 20
    assert [row.split for row in rows(made)].count("train") == 12


def test_a_dataset_that_is_there_already_is_left_as_it_is(made: Path) -> None:
    before = (made / DATASET).stat().st_mtime_ns
    steps: list[int] = []
    make_dataset(made, OPTIONS, progress=steps.append)
    assert (made / DATASET).stat().st_mtime_ns == before
    assert sum(steps) == 20


def test_every_video_has_signals_that_training_can_read(made: Path) -> None:
    signals = read_signals(made)
    assert list(signals) == [(row.video_id, 0) for row in rows(made)]
    assert any(row.snapshots for row in signals.values())
    for row in rows(made):
        profile = signals[row.video_id, 0].profile
        assert profile is not None
        assert profile.author_id == row.author_id
        assert profile.updated_at <= row.published_at


def test_a_dataset_made_before_there_were_signals_gains_them_and_changes_in_nothing_else(
    made: Path, tmp_path: Path
) -> None:
    old = shutil.copytree(made, tmp_path / "old")
    (old / SIGNALS).unlink()
    kept = {path: path.stat().st_mtime_ns for path in old.rglob("*") if path.is_file()}
    make_dataset(old, OPTIONS)
    assert (old / SIGNALS).read_bytes() == (made / SIGNALS).read_bytes()
    assert {path: path.stat().st_mtime_ns for path in old.rglob("*") if path.is_file() and path in kept} == kept
    assert len(list(old.iterdir())) == len(list(made.iterdir()))


def test_an_ambiguous_dataset_is_another_dataset(made: Path) -> None:
    with pytest.raises(UserError, match="holds something else"):
        make_dataset(made, replace(OPTIONS, noise=Noise(ambiguous=0.5)))
    assert "ambiguous" not in (made / DATASET).read_text("utf-8")


def test_a_folder_with_something_else_is_refused(made: Path) -> None:
    with pytest.raises(UserError, match="holds something else"):
        make_dataset(made, DatasetOptions(seed=5, counts={"test": 1}))


@contextmanager
def underway(tmp_path: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process, in a group of its own, that makes tmp_path/set and has written some of its videos."""
    process = subprocess.Popen(
        # what a shell starts in the background ignores interrupts, and so would all it starts
        ["env", "--default-signal=INT", sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        wait_until(lambda: list(tmp_path.glob(".set.making-*/train/*.mp4")), timeout_s=60)
        yield process
    finally:
        process.kill()
        process.wait()


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    command = ("-m", "stream.cli.main", "data", "make", str(tmp_path / "set"), "--train", "4000")
    with underway(tmp_path, *command) as process:
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in output
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_leaves_no_process_and_the_next_run_removes_its_files(tmp_path: Path) -> None:
    with underway(tmp_path, "-c", _MAKE.format(out=tmp_path / "set", count=4000)) as process:
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
        process.kill()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE]
    assert not (tmp_path / "set").exists()
    make_dataset(tmp_path / "set", DatasetOptions(seed=4, counts={"test": 1}), processes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: both fail the same write."""
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from schemas.errors import UserError\n"
        f"try:\n    {_MAKE.format(out=tmp_path / 'set', count=4)}\n"
        "except UserError as error:\n    print(error.message)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert "cannot be written" in done.stdout
    assert list(tmp_path.iterdir()) == []
