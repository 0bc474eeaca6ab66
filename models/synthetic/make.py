"""Making a dataset: several processes draw, render and encode items, which appear all together or not at all."""

from __future__ import annotations

import glob
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel

from models.synthetic.ceilings import ceilings
from models.synthetic.design import CLASSES, Noise
from models.synthetic.encode import write_mp4
from models.synthetic.picture import draw_frames
from models.synthetic.sampling import SPLITS, Item, draw_item
from models.synthetic.signals import draw_signals
from models.synthetic.sound import make_sound
from schemas.errors import UserError
from schemas.manifest import MANIFEST, SIGNALS, ManifestRow, Split
from schemas.taxonomy import default_taxonomy

DATASET = "dataset.json"
FORMAT = 1
_CHUNK = 8  # items a task: large enough to hide the queue, small enough for a smooth progress bar


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """What decides a dataset: equal options give byte-identical manifests and signals. counts: items of each split."""

    seed: int
    counts: Mapping[Split, int]
    noise: Noise = field(default_factory=Noise)

    def as_json(self) -> dict[str, Any]:
        noise = asdict(self.noise)
        if not self.noise.ambiguous:
            del noise["ambiguous"]  # so that a dataset made before the rate existed is known as the same one
        return {"format": FORMAT, "seed": self.seed, "counts": dict(self.counts), "noise": noise}


def _ignore(_: int) -> None:
    return


def make_dataset(
    out: Path, options: DatasetOptions, *, processes: int = 2, progress: Callable[[int], None] = _ignore
) -> dict[str, Any]:
    """Write videos, manifest.jsonl, signals.jsonl and dataset.json under `out` and return what dataset.json says.

    A folder that already holds this very dataset is left as it is, but for signals.jsonl where it was made without.
    progress is told how many more items are done.
    Raises UserError where `out` holds something else, or cannot be written.
    """
    out = out.resolve()  # it is renamed into place, which '.' and a link cannot be
    try:
        if (made := _made_before(out, options)) is not None:
            if not (out / SIGNALS).exists():
                _add_signals(out, options.seed)
            progress(sum(options.counts.values()))
            return made
        with _appearing(out) as folder:
            items = list(_render_all(folder, options, processes, progress))
            description = _describe(options, items)
            rows = [manifest_row(item) for item in items]
            (folder / MANIFEST).write_text(_lines(rows), encoding="utf-8")
            (folder / SIGNALS).write_text(_signals(options.seed, rows), encoding="utf-8")
            (folder / DATASET).write_text(
                json.dumps(description, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
            )
    except OSError as error:
        raise UserError(
            f"{error.filename or out} cannot be written: {error.strerror}", "free space, or name another folder"
        ) from error
    except BrokenProcessPool as error:
        raise UserError(
            "a process that made videos was killed from outside", "free memory, or ask for fewer --processes"
        ) from error
    return description


def _made_before(out: Path, options: DatasetOptions) -> dict[str, Any] | None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        made: dict[str, Any] = json.loads((out / DATASET).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        made = {}
    if made.get("options") == json.loads(json.dumps(options.as_json())):
        return made
    raise UserError(f"{out} holds something else already", "name a new folder, or remove this one")


def _add_signals(out: Path, seed: int) -> None:
    rows = [ManifestRow.model_validate_json(line) for line in (out / MANIFEST).read_bytes().splitlines()]
    making = out / f".{SIGNALS}.making-{os.getpid()}"
    try:
        making.write_text(_signals(seed, rows), encoding="utf-8")
        making.rename(out / SIGNALS)
    finally:
        making.unlink(missing_ok=True)


def _signals(seed: int, rows: Iterable[ManifestRow]) -> str:
    return _lines(draw_signals(seed, row) for row in rows)


def _lines(rows: Iterable[BaseModel]) -> str:
    return "".join(f"{row.model_dump_json(exclude_defaults=True)}\n" for row in rows)


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A folder that takes the name `out` once it is whole, and is removed if it never will be.

    What a killed run left behind is removed by the next one.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{out.name}.making-"
    for left in out.parent.glob(f"{glob.escape(prefix)}*"):
        if (maker := left.name.removeprefix(prefix)).isdecimal() and not psutil.pid_exists(int(maker)):
            shutil.rmtree(left, ignore_errors=True)
    making = out.parent / f"{prefix}{os.getpid()}"
    making.mkdir()
    try:
        yield making
        making.rename(out)  # replaces an empty folder
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _render_all(
    folder: Path, options: DatasetOptions, processes: int, progress: Callable[[int], None]
) -> Iterator[Item]:
    """Items in manifest order. Each is a function of (seed, split, index) alone, so processes share nothing."""
    chunks = list(_chunks(options))
    for split in SPLITS:
        (folder / split).mkdir()
    # spawned: the caller may have threads, which a fork would tear apart
    pool = ProcessPoolExecutor(
        min(processes, max(1, len(chunks))),
        multiprocessing.get_context("spawn"),
        initializer=_depend_on_parent,
    )
    try:
        with (
            _interrupts_held_back()
        ):  # children are born here: an interrupt is the parent's alone, even while they import
            rendered = pool.map(_render, [(folder, options.seed, options.noise, *chunk) for chunk in chunks])
        for items in rendered:
            progress(len(items))
            yield from items
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _chunks(options: DatasetOptions) -> Iterator[tuple[Split, range]]:
    for split in SPLITS:
        count = options.counts.get(split, 0)
        for first in range(0, count, _CHUNK):
            yield split, range(first, min(first + _CHUNK, count))


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Children born inside ignore SIGINT while they import; one that comes meanwhile is raised at the end.

    Blocking it for this thread is not enough: another thread takes it, and Python raises it here, inside the pool.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python raises interrupts in the main thread alone
        return
    arrived: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if arrived:
        signal.raise_signal(signal.SIGINT)


def _depend_on_parent() -> None:
    """The parent answers interrupts; where it is killed outright, this process would wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def _render(task: tuple[Path, int, Noise, Split, range]) -> list[Item]:
    folder, seed, noise, split, indices = task
    items = [draw_item(seed, split, index, noise) for index in indices]
    for item in items:
        sound = make_sound(item.scene) if item.scene.has_audio else None
        write_mp4(folder / _path(item), item.scene, draw_frames(item.scene), sound)
    return items


def _path(item: Item) -> str:
    return f"{item.split}/{item.video_id}.mp4"


def manifest_row(item: Item) -> ManifestRow:
    """The line of an item."""
    return ManifestRow(
        video_id=item.video_id,
        author_id=item.author_id,
        path=_path(item),
        split=item.split,
        published_at=item.published_at,
        title=item.title,
        ocr=item.ocr,
        asr=item.asr,
        tags=item.tags,
        duration_s=round(item.scene.duration_s, 3),
        label=item.label,
        truth=item.truth,
        factors=item.factors,
    )


def _describe(options: DatasetOptions, items: list[Item]) -> dict[str, Any]:
    counted = Counter((item.split, item.truth) for item in items)
    judged = [item for item in items if item.split == "test"] or items
    return {
        "options": options.as_json(),
        "taxonomy_id": default_taxonomy().id,
        "classes": [design.id for design in CLASSES],
        "class_counts": {
            split: {design.id: counted[split, design.id] for design in CLASSES}
            for split in SPLITS
            if options.counts.get(split)
        },
        "authors": len({item.author_id for item in items}),
        "ceilings": ceilings(judged, options.noise),
        "ceilings_items": len(judged),
    }
