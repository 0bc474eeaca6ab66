"""Publishing videos: events from a manifest or a folder of files. Done twice, it publishes the same events."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from schemas.errors import UserError
from schemas.events import VideoPublished
from schemas.manifest import ManifestRow
from schemas.topics import VIDEO_PUBLISHED, TopicNames
from schemas.wire import encode_event
from stream.kafka import require_topics
from stream.sender import Sender, paced
from stream.settings import Settings

CONTAINERS = frozenset({".mp4", ".mov", ".webm", ".mkv"})
SOURCE = "/reelsort/publish"


@dataclass(frozen=True, slots=True)
class Published:
    """What the broker acknowledged, and how long it took."""

    events: int
    seconds: float


def find_videos(folder: Path) -> list[ManifestRow]:
    """A row for every video file under a folder, in order of their paths. Raises UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}", "name a folder of videos or a JSONL manifest")
    root = folder.resolve()
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in CONTAINERS and path.is_file())
    if not files:
        wanted = ", ".join(sorted(suffix.removeprefix(".") for suffix in CONTAINERS))
        raise UserError(f"{folder} holds no video", f"put {wanted} files there, or name another folder")
    return [
        ManifestRow(
            # the whole path: two folders may both hold a.mp4, and the same file published twice is one video
            video_id=f"file-{hashlib.sha256(bytes(path)).hexdigest()[:20]}",
            author_id="local",
            path=path.relative_to(root).as_posix(),
            split="unlabelled",
            published_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
            title=path.stem.encode(errors="replace").decode(),
        )
        for path in files
    ]


def require_files(rows: Iterable[ManifestRow], media_root: Path) -> None:
    """Raises UserError naming the first row whose file is not there."""
    for row in rows:
        if not row.path:
            raise UserError(
                f"video {row.video_id} has no path: its row is words alone", "take it out; nothing was published"
            )
        if not (media_root / row.path).is_file():
            raise UserError(
                f"video {row.video_id} has no file at {media_root / row.path}",
                "name the folder that the manifest's paths start from with --media-root; nothing was published",
            )


def event_of(row: ManifestRow, media_root: Path, uri_prefix: str | None = None) -> VideoPublished:
    """The event of a row: its media under `uri_prefix` where one is given, else as a file:// address."""
    path = quote(row.path) if uri_prefix is not None else (media_root / row.path).resolve().as_uri()
    return VideoPublished(
        video_id=row.video_id,
        revision=row.revision,
        author_id=row.author_id,
        media_uri=path if uri_prefix is None else uri_prefix.rstrip("/") + "/" + path,
        published_at=row.published_at,
        title=row.title,
        ocr=row.ocr,
        asr=row.asr,
        tags=row.tags,
        language=row.language,
        duration_s=row.duration_s,
    )


def publish(
    settings: Settings,
    rows: Iterable[ManifestRow],
    media_root: Path,
    *,
    uri_prefix: str | None = None,
    rate: float | None = None,
    on_send: Callable[[VideoPublished], None] = lambda _: None,
) -> Published:
    """Send an event for every row, at most `rate` a second, and wait until the broker has them all.

    on_send is called before each is handed to the client. Raises UserError where the topic is missing, the broker does
    not answer, or an event was not acknowledged.
    """
    topic = TopicNames(settings.kafka.topics).actual(VIDEO_PUBLISHED)
    require_topics(settings, [topic])
    sender = Sender(settings, "publish", "publish again when the broker is well: what arrived twice is decided once")
    begun = time.monotonic()
    for video in paced((event_of(row, media_root, uri_prefix) for row in rows), rate, sender.serve):
        on_send(video)
        ce_id = f"{video.video_id}/{video.revision}"
        sender.send(topic, encode_event(video, ce_id=ce_id, source=SOURCE, time=video.published_at))
    sender.finish()
    return Published(sender.delivered, time.monotonic() - begun)
