"""One line of a manifest (JSONL): a video on disk, what is known of it, and its true label where there is one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.events import AuthorProfile, EngagementSnapshot, Event, Instant, Key, Revision, Seconds, Text

Split = Literal["train", "validation", "calibration", "test", "unlabelled"]


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
