"""Which events the platform would send: those of every video, in an order that raises all of them together."""

from __future__ import annotations

from collections import Counter

import pytest

from models.synthetic.audience import Attack, draw_actions, draw_plays
from models.synthetic.design import Noise
from models.synthetic.make import manifest_row
from models.synthetic.sampling import draw_item
from schemas.manifest import ManifestRow
from stream.simulate import events
from stream.simulate.events import Audience, actions_of, plays_of, profiles_of

ROWS = [manifest_row(draw_item(3, "test", index, Noise())) for index in range(12)]
PUBLISHED = {row.video_id: row.published_at for row in ROWS}


@pytest.mark.parametrize("at_once", [1, 5, 256])
def test_every_action_of_every_video_is_sent_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "AT_ONCE", at_once)
    sent = list(actions_of(ROWS, Audience(seed=9)))
    wanted = [action for row in ROWS for action in draw_actions(9, row)]
    assert Counter(action.action_id for action in sent) == Counter(action.action_id for action in wanted)
    for row in ROWS:
        assert [a for a in sent if a.video_id == row.video_id] == [a for a in wanted if a.video_id == row.video_id]


def test_videos_rise_together_whenever_they_were_published() -> None:
    ages = [action.occurred_at - PUBLISHED[action.video_id] for action in actions_of(ROWS, Audience())]
    assert ages == sorted(ages)


@pytest.mark.parametrize("attack", [Attack(), Attack(spam=0.3), Attack(brigading=0.1, spam=0.1, reports=0.2)])
@pytest.mark.parametrize("most", [None, 0, 40])
def test_the_number_of_plays_is_known_beforehand(attack: Attack, most: int | None) -> None:
    audience = Audience(3, most, attack)
    kinds = Counter(action.kind for action in actions_of(ROWS, audience))
    assert kinds["play"] == plays_of(ROWS, audience)
    if most is not None and attack == Attack():
        assert kinds["play"] == sum(min(most, draw_plays(3, row)) for row in ROWS)


def test_an_authors_profiles_come_in_order_and_each_week_once() -> None:
    def again(row: ManifestRow, index: int) -> ManifestRow:
        return row.model_copy(update={"video_id": f"again{index}"})

    profiles = profiles_of([again(row, index) for index, row in enumerate([*reversed(ROWS), *ROWS])])
    keys = [(profile.author_id, profile.seq) for profile in profiles]
    assert keys == sorted(set(keys))
    assert {profile.author_id for profile in profiles} == {row.author_id for row in ROWS}
