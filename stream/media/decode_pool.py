"""Decode children and the queue before them: a file that kills its decoder costs one message.

One thread of this process stands behind each child: it takes a file from the queue, hands it over, waits, copies the
clip out of shared memory. Whatever happens to the child happens to the file in its hands and to no other.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from models.media.types import AudioPlan, FramePlan, MediaLimits
from stream.classify.analyse import PoisonError, TransientError
from stream.media.child_handle import CHILD, DecodeChild, DecodedClip
from stream.media.shared_clip import ChildSettings
from stream.settings import MediaSettings

_IDLE_S = 1.0  # how often an idle thread looks after its child


@dataclass(frozen=True, slots=True)
class _Job:
    file: int  # a descriptor of our own
    future: Future[DecodedClip]


class DecodePool:
    """Decodes local files in child processes.

    submit() may be called from any thread and blocks while the queue is full. A future fails with PoisonError (any code
    of MediaError; decoder_crashed, decode_timeout, decode_memory) or, when no child can be had or the pool closes, with
    TransientError.
    """

    def __init__(
        self,
        settings: MediaSettings,
        frame_plan: FramePlan,
        audio_plan: AudioPlan | None = None,
        *,
        processes: int | None = None,
        limits: MediaLimits | None = None,
        command: Sequence[str] = CHILD,
    ) -> None:
        """Start `processes` children (default: settings.decode_processes). `command` is what a child runs."""
        child_settings = ChildSettings(
            frame_plan=frame_plan,
            audio_plan=audio_plan,
            limits=limits or MediaLimits(max_bytes=settings.max_bytes),
            memory_bytes=settings.decode_memory_bytes,
            cpu_seconds=settings.decode_timeout_s,
        )
        count = processes or settings.decode_processes
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=2 * count)
        self._closing = threading.Event()
        self._children = [DecodeChild(command, child_settings, settings.decode_timeout_s) for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._work, args=(child,), name=f"decode-{number}", daemon=True)
            for number, child in enumerate(self._children)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, path: Path) -> Future[DecodedClip]:
        """Decode the file at `path`. It is opened here and now, so it may be gone or replaced afterwards."""
        if self._closing.is_set():
            raise RuntimeError("the decode pool is closed")
        future: Future[DecodedClip] = Future()
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            future.set_exception(PoisonError("unreadable", error.strerror or str(error)))
            return future
        self._jobs.put(_Job(file, future))
        if self._closing.is_set():  # it closed while we waited for room
            self._fail_queued()
        return future

    def close(self, timeout: float = 5.0) -> None:
        """Fail what is queued, let what is being decoded finish within `timeout` seconds, then end every child."""
        self._closing.set()
        self._fail_queued()
        for _ in self._threads:
            with suppress(queue.Full):  # then a thread finds the closing by itself
                self._jobs.put_nowait(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for child in self._children:
            child.kill()
        for thread in self._threads:
            thread.join()
        self._fail_queued()

    def _work(self, child: DecodeChild) -> None:
        """A thread's life. The child is started by this very thread, for it dies with the thread that started it."""
        try:
            child.replace_if_dead()
            while True:
                try:
                    job = self._jobs.get(timeout=_IDLE_S)
                except queue.Empty:
                    if self._closing.is_set():
                        return
                    child.replace_if_dead()
                    continue
                if job is None:
                    return
                self._run(child, job)
        finally:
            child.close()

    def _run(self, child: DecodeChild, job: _Job) -> None:
        try:
            if job.future.set_running_or_notify_cancel():
                job.future.set_result(child.decode(job.file))
        except (PoisonError, TransientError) as error:
            job.future.set_exception(error)
        finally:
            os.close(job.file)

    def _fail_queued(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                os.close(job.file)
                if job.future.set_running_or_notify_cancel():
                    job.future.set_exception(TransientError("closing", "the decode pool was closed"))
