"""Every clip of a manifest, decoded once and kept: what the frame plan and the audio plan leave of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from models.media.decode import decode_clip
from models.media.types import AudioPlan, FramePlan, MediaError
from models.preprocess.audio import NO_AUDIO, features_shape, log_mel
from schemas.errors import UserError
from schemas.manifest import ManifestRow

Progress = Callable[[int, int], None]  # (done, all)

_FORMAT = 2  # of the kept arrays; a new one where decoding or the log-mel changes


@dataclass(frozen=True, slots=True)
class DecodedClips:
    """frames: uint8 [N, T, S, S, 3]; audio: float32 [N, A, F], zeros after its length; audio_lengths: [N], 0 for a
    video without sound; seen: [N], False for a row without a file. The arrays are memory-mapped files."""

    frames: NDArray[np.uint8]
    audio: NDArray[np.float32]
    audio_lengths: NDArray[np.int64]
    seen: NDArray[np.bool_]


def decode_all(
    data: Path,
    rows: Sequence[ManifestRow],
    frame_plan: FramePlan,
    audio_plan: AudioPlan | None,
    *,
    processes: int = 2,
    progress: Progress | None = None,
) -> DecodedClips:
    """Decode the rows' videos, or read what an earlier call with the same rows and plans kept in `data`/.decoded.

    Raises UserError, naming the file, where a video cannot be decoded.
    """
    kept = data / ".decoded" / _key(data, rows, frame_plan, audio_plan)
    if not kept.is_dir():
        kept.parent.mkdir(exist_ok=True)
        with _scratch(kept.parent) as scratch:
            making = scratch / kept.name
            making.mkdir()
            _decode_into(making, data, rows, frame_plan, audio_plan, processes, progress)
            with suppress(OSError):  # another process was faster: its arrays are the same
                making.rename(kept)
    frames, audio, lengths = (np.load(kept / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
    seen = np.array([bool(row.path) for row in rows])
    return DecodedClips(frames=frames, audio=audio, audio_lengths=np.asarray(lengths), seen=seen)


_MAKING = "making-"


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, gone afterwards. What a killed process left of its own, gigabytes perhaps, goes too."""
    with ExitStack() as ours:
        with _locked(parent):
            for left in parent.glob(f"{_MAKING}*"):
                with suppress(OSError), _locked(left, wait=False):  # a folder is locked as long as its maker lives
                    shutil.rmtree(left)
            scratch = Path(ours.enter_context(tempfile.TemporaryDirectory(dir=parent, prefix=_MAKING)))
            ours.enter_context(_locked(scratch))
        yield scratch


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Nobody else's for the block: the kernel takes the lock back however a process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


_ROWS_PER_PROCESS = 200  # below that, starting a process costs more than it saves
_ARRAYS = ("frames", "audio", "audio_lengths")

Decoded = tuple[NDArray[np.uint8], NDArray[np.float32], int]  # pictures, log-mel, its length


def _decode_into(
    folder: Path,
    data: Path,
    rows: Sequence[ManifestRow],
    frame_plan: FramePlan,
    audio_plan: AudioPlan | None,
    processes: int,
    progress: Progress | None,
) -> None:
    count, side = len(rows), frame_plan.size
    frames = open_memmap(
        folder / "frames.npy", mode="w+", dtype=np.uint8, shape=(count, frame_plan.count, side, side, 3)
    )
    heard = features_shape(audio_plan)
    audio = open_memmap(folder / "audio.npy", mode="w+", dtype=np.float32, shape=(count, *heard))
    lengths = np.zeros(count, np.int64)
    decode = partial(_decode_one, frame_plan=frame_plan, audio_plan=audio_plan)
    places = [place for place, row in enumerate(rows) if row.path]  # what has no file stays zero
    with _mapping(min(processes, -(-len(places) // _ROWS_PER_PROCESS))) as mapping:
        paths = [data / rows[place].path for place in places]
        for done, (place, decoded) in enumerate(zip(places, mapping(decode, paths), strict=True), start=1):
            frames[place], audio[place], lengths[place] = decoded
            if progress:
                progress(done, len(places))
    frames.flush()
    audio.flush()
    np.save(folder / "audio_lengths.npy", lengths)


@contextmanager
def _mapping(processes: int) -> Iterator[Callable[[Callable[[Path], Decoded], list[Path]], Iterator[Decoded]]]:
    """map(), in this process or over several."""
    if processes < 2:
        yield map
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield partial(pool.map, chunksize=16)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _decode_one(path: Path, frame_plan: FramePlan, audio_plan: AudioPlan | None) -> Decoded:
    try:
        clip = decode_clip(path, frame_plan, audio_plan)
    except MediaError as error:
        raise UserError(f"{path} cannot be decoded: {error}", "take its line out of the manifest") from error
    if audio_plan is None:
        return clip.frames, np.zeros(NO_AUDIO, np.float32), 0
    features, mask = log_mel(clip.audio, audio_plan)
    return clip.frames, features, int(mask.sum())


def _key(data: Path, rows: Sequence[ManifestRow], frame_plan: FramePlan, audio_plan: AudioPlan | None) -> str:
    """Which files, as they are now, by which plans."""
    files = []
    for row in rows:
        if not row.path:
            files.append(("", 0, 0))
            continue
        try:
            stat = (data / row.path).stat()
        except OSError as error:
            raise UserError(
                f"{data / row.path} cannot be read: {error.strerror}", "make the dataset again, or name its folder"
            ) from error
        files.append((row.path, stat.st_size, stat.st_mtime_ns))
    pictures = replace(frame_plan, clip=None)  # clips are made of the same ones
    what = json.dumps([_FORMAT, asdict(pictures), audio_plan and asdict(audio_plan), files])
    return hashlib.sha256(what.encode()).hexdigest()[:16]
