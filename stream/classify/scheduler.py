"""Frames of many videos through one device: a thread around the planner. Knows no device but the Runtime interface."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.preprocess.prepare import ModelInputs
from models.runtimes.base import FloatArray, FusionInputs, Runtime
from stream.classify.planner import Planner, RunFusion, RunVision, Shapes, Slice, Ticket, Wait


class SchedulerClosed(RuntimeError):
    """The scheduler was closed before this video was finished, or before it was submitted."""


class NotFinite(ValueError):
    """The model answered a video with NaN or infinity."""


@dataclass(frozen=True, slots=True)
class Fused:
    """One video's answer. timings: seconds; 'queue' is all waiting, 'vision' and 'fusion' its batches' run time."""

    level1_logits: FloatArray  # [C1]
    level2_logits: FloatArray  # [C2]
    embedding: FloatArray  # [E]
    timings: dict[str, float]


FillObserver = Callable[[str, float], None]  # (bucket, rows used / rows possible)


@dataclass(slots=True)
class _Video:
    inputs: ModelInputs
    submitted: float
    future: Future[Fused] = field(default_factory=Future)
    parts: dict[int, FloatArray] = field(default_factory=dict)  # first frame -> embeddings, of the cuts made
    spent: dict[str, float] = field(default_factory=lambda: {"vision": 0.0, "fusion": 0.0})


class Scheduler:
    """Videos in, futures out, in whatever order batches finish.

    At most `capacity` videos are inside; submit() blocks beyond that. A batch that raises is tried again video by
    video, so that one bad input fails alone. The runtime is called from one thread and is not closed here.
    """

    def __init__(
        self,
        runtime: Runtime,
        shapes: Shapes,
        *,
        capacity: int,
        clock: Callable[[], float] = time.monotonic,
        observe_fill: FillObserver = lambda bucket, fill: None,
    ) -> None:
        self._runtime = runtime
        self._shapes = shapes
        self._capacity = capacity
        self._clock = clock
        self._observe_fill = observe_fill
        self._planner = Planner(shapes)
        self._videos: dict[Ticket, _Video] = {}
        self._tickets = itertools.count()
        self._changed = threading.Condition()
        self._closing = False
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def submit(self, inputs: ModelInputs) -> Future[Fused]:
        """Queue a video; blocks while `capacity` are inside.

        The future raises what the runtime raised for this video alone, or NotFinite. Raises SchedulerClosed, and
        ValueError where the text is longer than every bucket.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closing or len(self._videos) < self._capacity)
            if self._closing:
                raise SchedulerClosed("the scheduler is closed")
            ticket, now = next(self._tickets), self._clock()
            self._planner.add(ticket, frames=len(inputs.frames), length=len(inputs.input_ids), now=now)
            video = _Video(inputs, now)
            video.future.set_running_or_notify_cancel()  # from here on it cannot be cancelled
            self._videos[ticket] = video
            self._changed.notify_all()
        return video.future

    def close(self, timeout: float) -> None:
        """Finish what is inside, without waiting for company; after `timeout` seconds fail what is left.

        Never leaves a future open. A device that hangs keeps its thread, which is a daemon.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        with self._changed:
            self._abandoned = True
            left = list(self._videos.values())
            self._videos.clear()
        for video in left:
            video.future.set_exception(SchedulerClosed("the scheduler was closed before this video was finished"))

    # --- the device's thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (action := self._next()) is not None:
                if isinstance(action, RunVision):
                    self._vision(action.slices)
                else:
                    self._fusion(action)
        except BaseException as error:  # a defect here must not leave anyone waiting
            with self._changed:
                self._closing = self._abandoned = True
                left = list(self._videos.values())
                self._videos.clear()
                self._changed.notify_all()
            for video in left:
                video.future.set_exception(error)
            raise

    def _next(self) -> RunVision | RunFusion | None:
        """The next batch, when it is due; None at the end."""
        with self._changed:
            while not self._abandoned:
                action = self._planner.next(self._clock(), flush=self._closing)
                if not isinstance(action, Wait):
                    return action
                if action.until is None and self._closing:
                    return None
                self._changed.wait(None if action.until is None else max(0.0, action.until - self._clock()))
        return None

    def _vision(self, slices: tuple[Slice, ...]) -> None:
        inside = self._inside([part.ticket for part in slices])
        slices = tuple(part for part in slices if part.ticket in inside)
        if not slices:
            return
        rows = sum(part.stop - part.start for part in slices)
        self._observe_fill("vision", rows / self._shapes.vision_batch)
        started = self._clock()
        try:
            embeddings = self._runtime.encode_frames(
                np.concatenate([inside[part.ticket].inputs.frames[part.start : part.stop] for part in slices])
            )
        except Exception as error:
            if len(inside) == 1:
                self._fail(slices[0].ticket, error)
            else:
                for _, same_video in itertools.groupby(slices, key=lambda part: part.ticket):
                    self._vision(tuple(same_video))
            return
        now = self._clock()
        first = 0
        for part in slices:
            video = inside[part.ticket]
            video.parts[part.start] = embeddings[first : first + part.stop - part.start]
            video.spent["vision"] += now - started
            first += part.stop - part.start
        with self._changed:
            self._planner.embedded(slices, now)

    def _fusion(self, batch: RunFusion) -> None:
        inside = self._inside(batch.tickets)
        tickets = [ticket for ticket in batch.tickets if ticket in inside]
        if not tickets:
            return
        self._observe_fill(f"fusion-{batch.bucket}", len(tickets) / self._shapes.fusion_batch)
        started = self._clock()
        try:
            outputs = self._runtime.fuse(_collate([inside[ticket] for ticket in tickets], batch.bucket))
        except Exception as error:
            if len(tickets) == 1:
                self._fail(tickets[0], error)
            else:
                for ticket in tickets:
                    self._fusion(RunFusion(batch.bucket, (ticket,)))
            return
        now = self._clock()
        for row, ticket in enumerate(tickets):
            video = inside[ticket]
            answer = (outputs.level1_logits[row], outputs.level2_logits[row], outputs.embedding[row])
            if not all(np.isfinite(part).all() for part in answer):
                self._fail(ticket, NotFinite("the model answered with NaN or infinity"))
                continue
            video.spent["fusion"] = now - started
            waited = now - video.submitted - sum(video.spent.values())
            self._finish(ticket, Fused(*answer, timings={"queue": waited, **video.spent}))

    def _inside(self, tickets: Sequence[Ticket]) -> dict[Ticket, _Video]:
        """The videos of a batch, less those that failed or were given up since it was planned."""
        with self._changed:
            return {ticket: self._videos[ticket] for ticket in tickets if ticket in self._videos}

    def _finish(self, ticket: Ticket, answer: Fused) -> None:
        if video := self._leave(ticket, failed=False):
            video.future.set_result(answer)

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        if video := self._leave(ticket, failed=True):
            video.future.set_exception(error)

    def _leave(self, ticket: Ticket, *, failed: bool) -> _Video | None:
        """Make room before the future tells its waiters; None where close() was faster."""
        with self._changed:
            if failed:
                self._planner.drop(ticket)
            else:
                self._planner.fused([ticket])
            video = self._videos.pop(ticket, None)
            self._changed.notify_all()
        return video


def _collate(videos: Sequence[_Video], length: int) -> FusionInputs:
    """One fusion batch: text padded to `length`, sound to the longest present; padding is masked out."""
    frames = [np.concatenate([video.parts[start] for start in sorted(video.parts)]) for video in videos]
    inputs = [video.inputs for video in videos]
    return FusionInputs(
        frames=_pad(frames, max(map(len, frames))),
        frame_mask=_pad([each.frame_mask for each in inputs], max(map(len, frames))),
        audio=_pad([each.audio for each in inputs], max(len(each.audio) for each in inputs)),
        audio_mask=_pad([each.audio_mask for each in inputs], max(len(each.audio) for each in inputs)),
        input_ids=_pad([each.input_ids for each in inputs], length),
        text_mask=_pad([each.text_mask for each in inputs], length),
    )


def _pad(rows: Sequence[NDArray[Any]], length: int) -> NDArray[Any]:
    padded = np.zeros((len(rows), length, *rows[0].shape[1:]), dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded
