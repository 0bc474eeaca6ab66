"""The demo, in the order things happen: stack, videos, services, publishing, watching, reading back."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psycopg
from confluent_kafka import Message

from deploy.local import stack
from models.bundle import Bundle, default_bundle
from models.synthetic.make import DatasetOptions, make_dataset
from schemas.events import VideoPublished
from schemas.manifest import MANIFEST, ManifestRow, read_manifest
from schemas.taxonomy import Taxonomy
from schemas.topics import TopicNames
from stream.demo.display import Display, Row
from stream.demo.evidence import EvidenceReport, audience_of, tell
from stream.demo.readback import TopicReader, announced, dead_letters, key_of, outbox_is_empty, stored
from stream.demo.report import DemoReport, summarise
from stream.demo.services import Service
from stream.kafka import create_topics
from stream.publish import find_videos, publish
from stream.settings import Settings, load_settings
from stream.simulate.events import plays_of

QUIET_S = 90.0  # nothing new for this long: what is missing is reported as lost
DEMO_SEED = 20_260  # never the seed the bundle was trained from
# Days of watching pass in seconds here: what changed is told soon.
HURRIED = {"REELSORT_SIGNALS__LATE_S": "2", "REELSORT_SIGNALS__DEBOUNCE_S": "1"}
_ADDRESSES = ("REELSORT_CONFIG", "REELSORT_KAFKA__", "REELSORT_DATABASE__", "REELSORT_MEDIA__", "REELSORT_ADMIN__")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """videos: a folder of the user's own files instead of generated ones. folder: where the stack lives."""

    count: int
    seed: int
    videos: Path | None
    folder: Path | None
    keep: bool


@dataclass(frozen=True, slots=True)
class DemoResult:
    report: DemoReport
    dead: list[tuple[str | None, str, str]]
    evidence: EvidenceReport | None  # None for a user's own files: nobody watches them here
    stack: stack.StackInfo
    folder: Path
    kept: bool

    @property
    def holds(self) -> bool:
        return self.report.holds and not (self.evidence and self.evidence.lost_plays)

    def as_json(self) -> dict[str, Any]:
        return self.report.as_json() | {"evidence": self.evidence and self.evidence.as_json()}


def run_demo(options: DemoOptions, display: Display) -> DemoResult:
    """Everything by real parts: returns what was seen; the stack is left up with `keep`, else removed with its folder.

    Raises UserError where something the demo needs is missing or ends.
    """
    own = None if options.videos is None else find_videos(options.videos)  # before anything is started for none
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="reelsort-demo-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as cleanup:
        cleanup.callback(_leave, folder, options)
        with ThreadPoolExecutor(1) as beside:
            fetched = f" (fetching {missing} jars, this once)" if (missing := stack.jars_to_fetch()) else ""
            starting = beside.submit(stack.up, folder)
            if own is None or options.videos is None:
                display.stage(f"starting Kafka and Postgres{fetched}, making videos", options.count)
                rows, media_root = _made(options, folder, display), folder / "videos"
            else:
                display.stage(f"starting Kafka and Postgres{fetched}")
                rows, media_root = own, options.videos.resolve()
            info = starting.result()
        environment = _environment(folder, media_root)
        settings = load_settings()
        from schemas.database import upgrade  # Alembic takes as long to import as all the rest of the command

        upgrade(info.dsn)
        create_topics(settings)
        bundle = Bundle.load(settings.inference.bundle or default_bundle())

        jobs = ("classify", "relay") if own is not None else ("classify", "relay", "signals", "rescore")
        display.stage(f"starting the jobs: {', '.join(jobs)}")
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        services = [cleanup.enter_context(Service(job, environment, logs / f"{job}.log")) for job in jobs]
        for service in services:
            service.wait_until_ready(60)

        watch = cleanup.enter_context(_Watch(settings, info.dsn, bundle.taxonomy, rows, media_root, display))
        report, dead = watch.run(services)
        evidence = None if own is not None else watch.tell(services, options.seed)
        return DemoResult(report, dead, evidence, info, folder, options.keep)


def _leave(folder: Path, options: DemoOptions) -> None:
    if options.keep:
        return
    stack.down(folder)
    if options.folder is None:
        shutil.rmtree(folder, ignore_errors=True)


def _made(options: DemoOptions, folder: Path, display: Display) -> list[ManifestRow]:
    root = folder / "videos"
    make_dataset(root, DatasetOptions(options.seed, {"test": options.count}), progress=display.advance)
    return read_manifest(root / MANIFEST)


def _environment(folder: Path, media_root: Path) -> dict[str, str]:
    """This stack's addresses, whatever the user's variables say. A bundle or runtime the user names stays."""
    for name in [name for name in os.environ if name.startswith(_ADDRESSES)]:
        del os.environ[name]
    os.environ["REELSORT_CONFIG"] = str(folder / "reelsort.toml")
    os.environ["REELSORT_MEDIA__FILE_ROOT"] = str(media_root)
    os.environ |= HURRIED
    return dict(os.environ)


class _Watch:
    """Publishes, then follows the label topic until every video is accounted for."""

    def __init__(
        self,
        settings: Settings,
        dsn: str,
        taxonomy: Taxonomy,
        rows: list[ManifestRow],
        media_root: Path,
        display: Display,
    ) -> None:
        self._settings = settings
        self._dsn = dsn
        self._taxonomy = taxonomy
        self._names = TopicNames(settings.kafka.topics)
        self._rows = {row.video_id: row for row in rows}
        self._media_root = media_root
        self._display = display
        self._published_ms: dict[str, int] = {}

    def __enter__(self) -> _Watch:
        self._cleanup = ExitStack()
        self._labels = self._cleanup.enter_context(closing(TopicReader(self._settings, self._topic("video.labels.v1"))))
        self._reviews = self._cleanup.enter_context(
            closing(TopicReader(self._settings, self._topic("video.review.v1")))
        )
        self._database = self._cleanup.enter_context(psycopg.connect(self._dsn, autocommit=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _topic(self, standard: str) -> str:
        return self._names.actual(standard)

    def run(self, services: Iterable[Service]) -> tuple[DemoReport, list[tuple[str | None, str, str]]]:
        self._display.stage("labelling", total=len(self._rows))
        self._publish()
        label_records = self._follow(services)
        self._display.stage("reading back tables and topics")
        label_records += self._labels.read_to_end(30)
        review_records = list(self._reviews.read_to_end(30))
        report = summarise(
            self._published_ms,
            stored(self._database, list(self._published_ms)),
            [announced(message) for message in label_records],
            [announced(message) for message in review_records],
            self._truth(),
        )
        return report, [(self._file(video_id), code, detail) for video_id, code, detail in dead_letters(self._database)]

    def tell(self, services: Iterable[Service], seed: int) -> EvidenceReport:
        """Authors and audiences become known; returns what that did to the labels."""

        def still_running() -> None:
            for service in services:
                service.check()

        rows = list(self._rows.values())
        self._display.stage("authors become known, people watch", total=plays_of(rows, audience_of(seed)))
        return tell(
            self._settings,
            self._database,
            rows,
            audience_of(seed),
            still_running=still_running,
            told=self._display.advance,
        )

    def _publish(self) -> None:
        def sent(video: VideoPublished) -> None:
            self._published_ms[video.video_id] = time.time_ns() // 1_000_000

        publish(self._settings, self._rows.values(), self._media_root, on_send=sent)

    def _follow(self, services: Iterable[Service]) -> list[Message]:
        """Read labels until every video has one or is a dead letter and the outbox is empty, or nothing comes."""
        records: list[Message] = []
        waiting = set(self._published_ms)
        quiet_since = time.monotonic()
        while waiting or not outbox_is_empty(self._database):
            fresh = self._labels.poll(0.25)
            for message in fresh:
                self._show(message)
                waiting.discard(key_of(message))
            records += fresh
            if fresh:
                quiet_since = time.monotonic()
                continue
            for service in services:
                service.check()
            waiting -= {video_id for video_id, _, _ in dead_letters(self._database) if video_id}
            if time.monotonic() - quiet_since > QUIET_S:
                break
        return records

    def _show(self, message: Message) -> None:
        value = message.value()
        if not value:
            return
        label = orjson.loads(value)
        row = self._rows[label["video_id"]]
        self._display.label(
            Row(
                video_id=row.video_id,
                title=row.title or Path(row.path).name,
                level1=self._name(label["level1"]),
                level2=self._name(label["level2"]),
                confidence=label["confidence"],
                status=label["status"],
                milliseconds=message.timestamp()[1] - self._published_ms[row.video_id],
            )
        )

    def _file(self, video_id: str | None) -> str | None:
        """A person knows the file, not the id that was made from its path."""
        row = self._rows.get(video_id) if video_id else None
        return row.path if row else video_id

    def _name(self, category: str | None) -> str:
        return self._taxonomy.name_of(category) if category else ""

    def _truth(self) -> Mapping[str, tuple[str, str]]:
        return {
            row.video_id: (self._taxonomy.parent_of(row.truth), row.truth)
            for row in self._rows.values()
            if row.truth is not None
        }
