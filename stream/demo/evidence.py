"""The demo's second half: what becomes known of authors and audiences, and what that does to the labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import psycopg

from schemas.errors import ExitCode, UserError
from schemas.manifest import ManifestRow
from stream.demo.readback import outbox_is_empty
from stream.settings import Settings
from stream.simulate.events import Audience, plays_of
from stream.simulate.run import SimulationOptions, simulate

MOST_PLAYS = 400  # of a video: enough to say what it is about
LOOK_EVERY_S = 0.2
QUIET_S = 90.0  # nothing new for this long: what is missing is reported as lost


class Answer(NamedTuple):
    """A label in force. level1, level2: the best answers, whatever the status publishes of them."""

    status: str
    level1: str
    level2: str


@dataclass(frozen=True, slots=True)
class EvidenceReport:
    """What signals did. right: of all videos, those whose best level-2 answer is the true one; labelled: those whose
    level 2 is published; wrong: of these, those whose level 2 is not the true one."""

    profiles: int
    actions: int
    snapshots: int
    lost_plays: int  # sent, and in no snapshot that is stored
    moved: int  # videos whose best answer changed
    mended: int  # of these, from a wrong one to the true one
    spoilt: int
    left_review: int
    entered_review: int
    labelled_before: int
    labelled_after: int
    wrong_before: int
    wrong_after: int
    accuracy_before: float
    accuracy_after: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    before: Mapping[str, Answer], after: Mapping[str, Answer], truth: Mapping[str, str], **counted: int
) -> EvidenceReport:
    """Pure: the labels of the same videos before and after. truth: level 2 by video_id. At least one video."""
    known = sorted(before.keys() & after.keys() & truth.keys())
    old, new = ([labels[video_id] for video_id in known] for labels in (before, after))
    true = [truth[video_id] for video_id in known]
    right_before, right_after = (
        [label.level2 == level2 for label, level2 in zip(labels, true, strict=True)] for labels in (old, new)
    )
    turns = list(zip(right_before, right_after, strict=True))
    moved = [turn for turn, was, now in zip(turns, old, new, strict=True) if was.level2 != now.level2]
    waits = [(was.status == "in_review", now.status == "in_review") for was, now in zip(old, new, strict=True)]
    published_before, published_after = (
        [right for label, right in zip(labels, rights, strict=True) if label.status == "labelled"]
        for labels, rights in ((old, right_before), (new, right_after))
    )
    return EvidenceReport(
        profiles=counted["profiles"],
        actions=counted["actions"],
        snapshots=counted["snapshots"],
        lost_plays=counted["lost_plays"],
        moved=len(moved),
        mended=moved.count((False, True)),
        spoilt=moved.count((True, False)),
        left_review=waits.count((True, False)),
        entered_review=waits.count((False, True)),
        labelled_before=len(published_before),
        labelled_after=len(published_after),
        wrong_before=published_before.count(False),
        wrong_after=published_after.count(False),
        accuracy_before=round(sum(right_before) / len(known), 4),
        accuracy_after=round(sum(right_after) / len(known), 4),
    )


_ANSWERS = """
SELECT c.video_id, c.status, d.level1, d.level2
  FROM current_labels c JOIN decisions d USING (video_id, decision_id)
 WHERE c.video_id = ANY(%s) AND d.level2 IS NOT NULL
"""


def answers(connection: psycopg.Connection[Any], video_ids: Iterable[str]) -> dict[str, Answer]:
    return {video_id: Answer(*rest) for video_id, *rest in connection.execute(_ANSWERS, [list(video_ids)])}


def audience_of(seed: int) -> Audience:
    """Who watches the videos of a seed."""
    return Audience(seed, MOST_PLAYS)


def tell(
    settings: Settings,
    connection: psycopg.Connection[Any],
    rows: Sequence[ManifestRow],
    audience: Audience,
    *,
    still_running: Callable[[], None],
    told: Callable[[int], None],
) -> EvidenceReport:
    """Play the platform for these videos, wait until all of it is stored and announced, and compare.

    told is called with the number of plays that are stored more than before. Raises UserError where a service ends.
    """
    video_ids = [row.video_id for row in rows]
    before = answers(connection, video_ids)
    sent = simulate(settings, rows, SimulationOptions(audience, now=True))
    stored, quiet_since = 0, time.monotonic()
    expected = plays_of(rows, audience)
    while stored < expected or not outbox_is_empty(connection):
        still_running()
        plays = _scalar(connection, "SELECT coalesce(sum(plays), 0)::bigint FROM engagement_snapshots")
        if plays > stored:
            told(plays - stored)
            stored, quiet_since = plays, time.monotonic()
        elif time.monotonic() - quiet_since > QUIET_S:
            break
        time.sleep(LOOK_EVERY_S)
    return compare(
        before,
        answers(connection, video_ids),
        {row.video_id: row.truth for row in rows if row.truth is not None},
        profiles=sent.profiles,
        actions=sent.actions,
        snapshots=_scalar(connection, "SELECT count(*) FROM engagement_snapshots"),
        lost_plays=expected - stored,
    )


def _scalar(connection: psycopg.Connection[Any], query: str) -> int:
    row = connection.execute(query).fetchone()
    if row is None:
        raise UserError("Postgres gave no answer", "look at its log", ExitCode.UNREACHABLE)
    return int(row[0])
