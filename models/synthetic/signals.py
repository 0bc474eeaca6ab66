"""What becomes known of a generated video besides its content: a line of signals.jsonl. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from models.signals.tally import Tally, threshold_crossed
from models.synthetic.audience import TYPICAL, Attack, Behaviour, draw_actions
from models.synthetic.authors import draw_profile
from schemas.events import EngagementAction, EngagementSnapshot
from schemas.manifest import ManifestRow, SignalsRow

BRIGADE = 0.05  # of viewers


def draw_signals(seed: int, row: ManifestRow, behaviour: Behaviour = TYPICAL) -> SignalsRow:
    """The author's profile when the video was published, and snapshots as its plays pass 10, 100, 1000, … and in the
    end. A video that nobody played has none. Raises UserError for a video that the generator did not make."""
    return SignalsRow(
        video_id=row.video_id,
        revision=row.revision,
        profile=draw_profile(row.author_id, row.published_at),
        snapshots=snapshots_of(row, draw_actions(seed, row, behaviour=behaviour)),
    )


def snapshots_of(row: ManifestRow, actions: Iterable[EngagementAction]) -> tuple[EngagementSnapshot, ...]:
    """Snapshots of a video's actions, given in order of time: where plays cross a threshold, and of all. Each counts
    more plays than the one before; seq is the number of actions, window_end the newest of them."""
    tally = Tally(row.revision)
    found: list[EngagementSnapshot] = []
    count = 0
    for count, action in enumerate(actions, start=1):
        before = tally.plays
        tally.add(action)
        if threshold_crossed(before, tally.plays):
            found.append(_snapshot(tally, row, count))
    if tally.plays:
        if found and found[-1].plays == tally.plays:
            found.pop()
        found.append(_snapshot(tally, row, count))
    return tuple(found)


def brigaded_snapshot(
    seed: int,
    row: ManifestRow,
    share: float = BRIGADE,
    wrong: str | None = None,
    behaviour: Behaviour = TYPICAL,
) -> EngagementSnapshot | None:
    """The last snapshot of the same video, had a share of its viewers all named one wrong class (Attack.brigading).

    The honest actions are those of draw_signals() with the same seed: a dataset's own. None for a video that nobody
    played. Raises UserError for a video that the generator did not make, or where `wrong` is no wrong class of its.
    """
    attack = Attack(brigading=share, wrong=wrong)
    found = snapshots_of(row, draw_actions(seed, row, behaviour=behaviour, attack=attack))
    return found[-1] if found else None


def _snapshot(tally: Tally, row: ManifestRow, seq: int) -> EngagementSnapshot:
    return tally.snapshot(row.video_id, seq, datetime.fromtimestamp(tally.latest_ms / 1000, UTC))
