"""From verdicts to durable outcomes: gather a batch, write it in one transaction, report its records done."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

from models.decision.types import Route
from schemas.events import VideoPublished
from stream.classify.analyse import Analysis, PoisonError, TransientError
from stream.classify.breaker import Breaker, HostBreakers
from stream.classify.hand import Flight, Hand
from stream.classify.outage import Outage
from stream.classify.retries import back_off_s
from stream.consumer.records import Progress
from stream.settings import ClassifySettings
from stream.store import attempts
from stream.store.work import Analysed, Dead, Later, Outcome, Written
from stream.store.writer import Writer
from stream.telemetry import metrics

_log = logging.getLogger(__name__)

Verdict = Analysis | PoisonError | TransientError


class Committer:
    """One thread for each writer, the only ones that write decisions: while Postgres works for one, another gathers.

    Transactions may overlap, for the row locks of the videos put what concerns one video in order.
    """

    def __init__(
        self,
        *,
        hand: Hand,
        writers: Sequence[Writer],
        settings: ClassifySettings,
        progress: Progress,
        again: Callable[[Flight], None],
        stopping: threading.Event,
    ) -> None:
        self._hand = hand
        self._gathering = threading.Lock()  # held by the thread that gathers and judges; guards the breakers too
        self._settings = settings
        self._progress = progress
        self._again = again
        self._stopping = stopping
        self._breaker = Breaker(settings.breaker_window, settings.breaker_share)
        self._held: list[tuple[Flight, Outcome | Verdict]] = []
        self._next_probe = 0.0
        self._hosts = HostBreakers(settings.breaker_pause_s)
        self._starved = Breaker(settings.breaker_window, settings.breaker_share)
        self._hosts_lock = threading.Lock()
        self._verdicts: queue.SimpleQueue[tuple[Flight, Outcome | Verdict]] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, args=(writer,), name=f"classify-commit-{number}", daemon=True)
            for number, writer in enumerate(writers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def deliver(self, flight: Flight, verdict: Outcome | Verdict) -> None:
        """From any thread."""
        self._verdicts.put((flight, verdict))

    def admits(self, video: VideoPublished) -> bool:
        """Whether the video's host may be asked now. From any thread."""
        if not self._hosts.any_open:
            return True
        with self._hosts_lock:
            return self._hosts.admits(host_of(video), time.monotonic())

    def join(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, writer: Writer) -> None:
        outage = Outage(self._progress, self._stopping)
        try:
            while not self._stopping.is_set():
                with self._gathering:
                    gathered = self._gather()
                    if self._stopping.is_set():
                        break  # an analyzer that closes fails what it still has: that is not to be written
                    judged = self._judge(gathered)
                    self._probe()
                if judged:
                    self._write(writer, outage, judged)
                if released := self._hand.released():
                    outage.through(writer.session, partial(attempts.release, released=released))
        except Exception as error:
            if not self._stopping.is_set():
                self._progress.fail(error)
        finally:
            writer.close()

    def _gather(self) -> list[tuple[Flight, Outcome | Verdict]]:
        """What is there, up to a batch; a half-full one waits a moment for more unless somebody waits for it."""
        try:
            gathered = [self._verdicts.get(timeout=0.2)]
        except queue.Empty:
            return []
        until = time.monotonic() + self._settings.commit_linger_ms / 1000
        while len(gathered) < self._settings.commit_batch:
            try:
                gathered.append(self._verdicts.get_nowait())
                continue
            except queue.Empty:
                pass
            remaining = until - time.monotonic()
            if remaining <= 0 or self._hand.hurried or gathered[-1][0].alone:
                break
            try:
                gathered.append(self._verdicts.get(timeout=min(remaining, 0.05)))
            except queue.Empty:
                continue
        return gathered

    def _judge(self, gathered: Sequence[tuple[Flight, Outcome | Verdict]]) -> list[tuple[Flight, Outcome]]:
        """What is to be written; what the breaker holds back is put aside."""
        judged = []
        for flight, verdict in gathered:
            if not self._hand.keep(flight):
                continue
            self._starved.observe(isinstance(verdict, TransientError))
            outcome = self._outcome(flight, verdict)
            if self._breaks(outcome):
                self._hold(flight, verdict)
            else:
                judged.append((flight, outcome))
        if self._starved.is_open:
            self._progress.back_off(self._settings.breaker_pause_s, "nearly all inputs fail for reasons that pass")
        return judged

    def _write(self, writer: Writer, outage: Outage, judged: Sequence[tuple[Flight, Outcome]]) -> None:
        begun = time.perf_counter()
        outcomes = [outcome for _, outcome in judged]
        written = writer.write(outcomes, outage.wait)
        outage.over()
        self._progress.done(self._hand.land(flight for flight, _ in judged))
        _report(written, outcomes, time.perf_counter() - begun)

    def _outcome(self, flight: Flight, verdict: Outcome | Verdict) -> Outcome:
        lead = flight.lead
        match verdict:
            case Analysis():
                if self._hosts.watching:
                    self._observe_host(host_of(flight.video), failed=False)
                return Analysed(lead, flight.video, verdict)
            case PoisonError():
                return Dead(lead, verdict.code, verdict.detail, attempts=lead.tries)
            case TransientError():
                return self._later(flight, verdict)
            case _:
                return verdict

    def _later(self, flight: Flight, error: TransientError) -> Outcome:
        """Another try, unless its tries are used up. What fails because its host or all else does, uses up none."""
        lead, settings = flight.lead, self._settings
        host_is_out = error.host is not None and self._observe_host(error.host, failed=True)
        excused = host_is_out or self._starved.is_open
        if not excused and lead.tries > settings.max_retries:
            return Dead(lead, error.code, error.detail, attempts=lead.tries)
        base = settings.breaker_pause_s if excused else settings.retry_base_s
        delay = back_off_s(flight.video.video_id, 1 if excused else lead.tries, base, settings.retry_cap_s)
        available_at = datetime.now(UTC) + timedelta(seconds=delay)
        return Later(lead, error.code, error.detail, available_at, counts=not excused)

    def _observe_host(self, host: str, *, failed: bool) -> bool:
        """Whether the host's breaker is open now."""
        with self._hosts_lock:
            self._hosts.observe(host, failed, time.monotonic())
            metrics.BREAKER_OPEN.labels("host").set(self._hosts.any_open)
            return self._hosts.is_open(host)

    # --- the breaker: when nearly all inputs are poison, nothing is given up and offsets hold

    def _breaks(self, outcome: Outcome) -> bool:
        if isinstance(outcome, (Analysed, Dead)):
            was_open = self._breaker.is_open
            self._breaker.observe(isinstance(outcome, Dead))
            if was_open != self._breaker.is_open:
                self._breaker_turned()
        return self._breaker.is_open and isinstance(outcome, Dead)

    def _breaker_turned(self) -> None:
        is_open = self._breaker.is_open
        metrics.BREAKER_OPEN.labels("poison").set(is_open)
        if is_open:
            _log.critical(
                "halted: nearly all of the last %d inputs would be dead letters, so the fault is not theirs;"
                " offsets hold, one input in %.0f s is tried again",
                self._settings.breaker_window,
                self._settings.breaker_pause_s,
            )
            self._next_probe = time.monotonic() + self._settings.breaker_pause_s
            return
        _log.warning("inputs can be analysed again: going on, %d held ones first", len(self._held))
        held, self._held = self._held, []
        for flight, verdict in held:
            if isinstance(verdict, _MAY_CHANGE):
                self._again(flight)
            else:
                self.deliver(flight, verdict)

    def _hold(self, flight: Flight, verdict: Outcome | Verdict) -> None:
        self._hand.hold(flight)
        self._held.append((flight, verdict))
        self._progress.back_off(self._settings.breaker_pause_s, "nearly all inputs are poison")

    def _probe(self) -> None:
        """Try one held input again; with every pause another one. What is no event can be read no better now."""
        if not self._breaker.is_open or time.monotonic() < self._next_probe:
            return
        self._next_probe = time.monotonic() + self._settings.breaker_pause_s
        self._held = [(flight, verdict) for flight, verdict in self._held if self._hand.keep(flight)]
        self._progress.back_off(self._settings.breaker_pause_s * 1.5, "nearly all inputs are poison")
        for place, (flight, verdict) in enumerate(self._held):
            if isinstance(verdict, _MAY_CHANGE):
                del self._held[place]
                self._again(flight)
                return


_MAY_CHANGE = PoisonError | TransientError  # what another analysis may see otherwise
_LEVEL = {Route.ACCEPT: "2", Route.ACCEPT_LEVEL1: "1", Route.REVIEW: "none"}


def _report(written: Sequence[Written], outcomes: Sequence[Outcome], seconds: float) -> None:
    metrics.STAGE_SECONDS.labels("store").observe(seconds)
    metrics.STORE_BATCH.observe(len(outcomes))
    for transaction in written:
        for (route, reason), count in transaction.decisions.items():
            metrics.DECISIONS.labels(_LEVEL[route], route.value, reason).inc(count)
        for code, count in transaction.dead.items():
            metrics.DEAD_LETTERS.labels(code).inc(count)
    for code, count in Counter(each.code for each in outcomes if isinstance(each, Later)).items():
        metrics.RETRIES.labels(code).inc(count)
    now_ms = time.time() * 1000
    for each in outcomes:
        if isinstance(each, Analysed):
            metrics.LABEL_SECONDS.observe((now_ms - each.input.record.timestamp_ms) / 1000)


def host_of(video: VideoPublished) -> str:
    return urlsplit(video.media_uri).hostname or ""
