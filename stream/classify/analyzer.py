"""The real analyzer: fetch, decode, prepare, then the scheduler; many videos at once, out of order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from models.bundle import Bundle
from models.preprocess.prepare import Preprocessor
from models.preprocess.text import TextFields
from models.runtimes.select import ChosenRuntime, choose_runtime
from schemas.events import VideoPublished
from stream import boundaries
from stream.classify.analyse import Analysis, Done, PoisonError, TransientError
from stream.classify.planner import Shapes
from stream.classify.scheduler import Fused, NotFinite, Scheduler, SchedulerClosed
from stream.media.child_handle import DecodedClip
from stream.media.decode_pool import DecodePool
from stream.media.fetch import FetchedFile, fetch, require_content
from stream.settings import MediaSettings, Settings
from stream.telemetry import metrics

_log = logging.getLogger(__name__)

Fetch = Callable[[str, MediaSettings, float], AbstractContextManager[FetchedFile]]

_CLOSING = ("closing", "the analyzer was closed before this video was finished")


@dataclass(eq=False, slots=True)
class _Task:
    """One video on its way. Whoever takes it out of the analyzer's set calls `done`, so it is called once."""

    video: VideoPublished
    done: Done
    timings: dict[str, float] = field(default_factory=dict)
    frame_times: tuple[float, ...] = ()


class VideoAnalyzer:
    """An Analyzer over one bundle and one device.

    A worker thread takes a video from its address to the queue of the scheduler, waiting for a decode child on the way;
    the thread of the scheduler finishes it. At most `capacity` videos are inside.
    """

    def __init__(
        self,
        bundle: Bundle,
        chosen: ChosenRuntime,
        settings: Settings,
        *,
        fetch: Fetch = fetch,
    ) -> None:
        """Starts threads and decode children. Takes over chosen.runtime and closes it at the end."""
        manifest = bundle.manifest
        videos_per_batch = max(1, chosen.vision_batch // manifest.frame_plan.units)
        self._bundle = bundle
        self._fetch = fetch
        self._media = settings.media
        self._runtime = chosen.runtime
        self._preprocessor = Preprocessor(bundle)
        self._scheduler = Scheduler(
            chosen.runtime,
            Shapes(
                vision_batch=chosen.vision_batch,
                fusion_batch=videos_per_batch,
                length_buckets=manifest.text.length_buckets,
                max_wait_s=settings.inference.max_wait_ms / 1000,
            ),
            capacity=4 * videos_per_batch,
            observe_fill=lambda bucket, fill: metrics.BATCH_FILL.labels(bucket).observe(fill),
        )
        self._decoders = DecodePool(settings.media, manifest.frame_plan, manifest.audio_plan)
        self._workers = ThreadPoolExecutor(settings.media.fetch_threads, thread_name_prefix="analyse")
        self._capacity = 2 * settings.media.fetch_threads + 4 * videos_per_batch
        self._tasks: set[_Task] = set()
        self._alone = False
        self._closing = False
        self._changed = threading.Condition()

    @property
    def encoder_id(self) -> str:
        return self._bundle.encoder_id

    def submit(self, video: VideoPublished, done: Done, *, alone: bool = False) -> None:
        task = _Task(video, done)
        if not self._admit(task, alone):
            done(TransientError(*_CLOSING))
            return
        try:
            started = self._workers.submit(self._start, task)
        except RuntimeError:  # shut down since it was admitted
            self._finish(task, TransientError(*_CLOSING))
        else:
            started.add_done_callback(lambda ended: self._unstarted(ended, task))

    def close(self, timeout: float) -> None:
        """Cancel what is queued, give what runs `timeout` seconds, then fail the rest with TransientError."""
        deadline = time.monotonic() + timeout

        def left() -> float:
            return max(0.0, deadline - time.monotonic())

        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._decoders.close(left())
        self._scheduler.close(left())
        with self._changed:
            tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.done(TransientError(*_CLOSING))
        self._runtime.close()

    # --- the way of one video -------------------------------------------------------------------------------------

    def _start(self, task: _Task) -> None:
        """From address to the device's queue. Runs in a worker thread."""
        try:
            clip = self._decode(task)
            task.frame_times = tuple(clip.timestamps.tolist())
            begun = time.perf_counter()
            inputs = self._preprocessor.assemble(clip.frames, clip.log_mel, clip.audio_mask, _fields(task.video))
            task.timings["prepare"] = time.perf_counter() - begun
            boundaries.reached("infer")
            answer = self._scheduler.submit(inputs)
        except (PoisonError, TransientError) as error:
            self._finish(task, error)
        except Exception as error:
            if self._closing:  # whatever broke, broke because its floor was taken away
                self._finish(task, TransientError(*_CLOSING))
            else:  # a defect: tried again, and a dead letter with this text when that is in vain
                _log.exception("video %s: unexpected", task.video.video_id)
                self._finish(task, TransientError("internal", f"{type(error).__name__}: {error}"))
        else:
            answer.add_done_callback(lambda fused: self._answered(task, fused))

    def _decode(self, task: _Task) -> DecodedClip:
        boundaries.reached("fetch")
        begun = time.perf_counter()
        with self._fetch(task.video.media_uri, self._media, time.monotonic() + self._media.fetch_timeout_s) as file:
            require_content(file, task.video.content_sha256)
            task.timings["fetch"] = time.perf_counter() - begun
            boundaries.reached("decode")
            queued = time.perf_counter()
            decoding = self._decoders.submit(file.path)  # opens the file: it need not outlive this block
        clip = decoding.result()
        task.timings["decode"] = clip.seconds
        task.timings["queue"] = max(0.0, time.perf_counter() - queued - clip.seconds)
        return clip

    def _answered(self, task: _Task, answer: Future[Fused]) -> None:
        """Runs in the scheduler's thread."""
        error = answer.exception()
        if error is None:
            fused = answer.result()
            waited = task.timings["queue"] + fused.timings["queue"]
            task.timings.update(fused.timings, queue=waited)
            self._finish(
                task,
                Analysis(
                    level1_logits=fused.level1_logits,
                    level2_logits=fused.level2_logits,
                    embedding=fused.embedding,
                    frame_times=task.frame_times,
                    timings=task.timings,
                ),
            )
        elif isinstance(error, NotFinite):
            self._finish(task, PoisonError("not_finite", str(error)))
        elif isinstance(error, SchedulerClosed):
            self._finish(task, TransientError(*_CLOSING))
        else:
            self._finish(task, TransientError("inference", f"{type(error).__name__}: {error}"))

    # --- who is inside --------------------------------------------------------------------------------------------

    def _admit(self, task: _Task, alone: bool) -> bool:
        """Wait for room, or for an empty house; False where the analyzer closes meanwhile."""
        with self._changed:
            room = 1 if alone else self._capacity
            self._changed.wait_for(lambda: self._closing or (len(self._tasks) < room and not self._alone))
            if self._closing:
                return False
            self._tasks.add(task)
            self._alone = alone
        return True

    def _finish(self, task: _Task, outcome: Analysis | PoisonError | TransientError) -> None:
        """Make room, then tell; nothing where close() has told already."""
        with self._changed:
            if task not in self._tasks:
                return
            self._tasks.remove(task)
            self._alone = False  # a task that runs alone is the only one there is
            self._changed.notify_all()
        if isinstance(outcome, Analysis):
            for stage in _STAGES:
                metrics.STAGE_SECONDS.labels(stage).observe(outcome.timings[stage])
        task.done(outcome)

    def _unstarted(self, ended: Future[None], task: _Task) -> None:
        if ended.cancelled():
            self._finish(task, TransientError(*_CLOSING))


_STAGES = ("fetch", "decode", "prepare", "vision", "fusion")


def open_analyzer(settings: Settings, bundle: Bundle, *, fetch: Fetch = fetch) -> VideoAnalyzer:
    """Choose how `bundle` runs on this machine and start analysing. Raises UserError where nothing can run it."""
    chosen = choose_runtime(bundle, settings.inference)
    _log.info(
        "%s answers, %d frames a batch, %d threads (%s)",
        chosen.runtime.name,
        chosen.vision_batch,
        chosen.threads,
        chosen.report.how,
    )
    return VideoAnalyzer(bundle, chosen, settings, fetch=fetch)


def _fields(video: VideoPublished) -> TextFields:
    return TextFields(title=video.title, ocr=video.ocr, asr=video.asr, tags=video.tags)
