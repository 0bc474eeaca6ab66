"""A manifest (JSONL): a line a video on disk, what is known of it, and its true label where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from schemas.errors import UserError
from schemas.events import AuthorProfile, EngagementSnapshot, Event, Instant, Key, Revision, Seconds, Text

Split = Literal["train", "validation", "calibration", "test", "unlabelled"]

MANIFEST = "manifest.jsonl"  # in a dataset's folder
SIGNALS = "signals.jsonl"  # beside the manifest


class ManifestRow(Event):
    """What VideoPublished carries, a path instead of an address, and the truth beside it.

    path is relative to the manifest's folder; a row without one is words alone, to train and evaluate on. label is what
    an annotator wrote (noisy); truth is what the generator knows; both are level-2 category ids. factors are the
    generator's own variables, for diagnosis alone.
    """

    video_id: Key
    revision: Revision = 0
    author_id: Key
    path: str = ""
    split: Split
    published_at: Instant
    title: Text = ""
    ocr: tuple[Text, ...] = ()
    asr: Text = ""
    tags: tuple[Text, ...] = ()
    language: str = "zh"
    duration_s: Seconds | None = None
    label: Key | None = None
    truth: Key | None = None
    factors: dict[str, Any] = Field(default_factory=dict)


class SignalsRow(Event):
    """One line of signals.jsonl, which lies beside a manifest: what becomes known of a video besides its content.

    profile: its author's, as it was when the video was published. snapshots: of this revision, each later one counts
    more plays.
    """

    video_id: Key
    revision: Revision = 0
    profile: AuthorProfile | None = None
    snapshots: tuple[EngagementSnapshot, ...] = ()


def read_manifest(path: Path) -> list[ManifestRow]:
    """The rows of a manifest. Raises UserError, naming the line, where one is not a row or gives a video again."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "name a JSONL manifest, or make one with `reelsort data make`"
        ) from error
    rows: list[ManifestRow] = []
    first_line: dict[tuple[str, int], int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = ManifestRow.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = "".join(f"{part}: " for part in first["loc"])
            raise UserError(f"{path}, line {number}: {where}{first['msg']}", "mend or remove the line") from error
        if before := first_line.get((row.video_id, row.revision)):
            raise UserError(
                f"{path}, line {number}: video {row.video_id}, revision {row.revision}, is in line {before} already",
                "remove the line, or give it an id or a revision of its own",
            )
        first_line[row.video_id, row.revision] = number
        rows.append(row)
    return rows
