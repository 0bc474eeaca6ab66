"""Viewers behave as the true class says, alike wherever they are drawn, and an attack adds to them and moves nobody."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.signals.tally import Tally
from models.synthetic.audience import Attack, draw_actions, draw_plays, wrong_class
from models.synthetic.authors import draw_profile
from models.synthetic.comments import comment_phrases
from models.synthetic.design import BY_ID, CLASSES, LEVEL1, Noise
from models.synthetic.make import manifest_row
from models.synthetic.sampling import draw_item, world
from models.synthetic.signals import brigaded_snapshot, draw_signals
from schemas.errors import UserError
from schemas.events import EngagementAction
from schemas.manifest import ManifestRow

seeds = st.integers(0, 2**31)
indices = st.integers(0, 500)
some_plays = st.integers(1, 80)


@cache
def row(index: int, seed: int = 5) -> ManifestRow:
    return manifest_row(draw_item(seed, "test", index, Noise()))


def tallied(actions: Iterable[EngagementAction]) -> Tally:
    tally = Tally(0)
    for action in actions:
        tally.add(action)
    return tally


def texts(actions: Iterable[EngagementAction]) -> list[str]:
    return [action.comment_text for action in actions if action.comment_text is not None]


def names(text: str, class_id: str) -> bool:
    return any(word in text for word in comment_phrases().classes[class_id])


@given(seeds, indices, some_plays)
def test_actions_depend_on_seed_and_video_alone(seed: int, index: int, plays: int) -> None:
    wanted = list(draw_actions(seed, row(index), plays))
    list(draw_actions(seed, row(index + 1), plays))
    assert list(draw_actions(seed, row(index), plays)) == wanted
    assert list(draw_actions(seed + 1, row(index), plays)) != wanted
    assert list(draw_actions(seed, row(index).model_copy(update={"revision": 1}), plays)) != wanted


@given(seeds, indices, some_plays)
def test_actions_are_of_the_video_unique_and_in_order_of_time(seed: int, index: int, plays: int) -> None:
    video = row(index)
    actions = list(draw_actions(seed, video, plays, attack=Attack(spam=0.2, brigading=0.1, reports=0.1)))
    assert len({action.action_id for action in actions}) == len(actions)
    assert all(earlier.occurred_at <= later.occurred_at for earlier, later in itertools.pairwise(actions))
    assert actions[0].occurred_at >= video.published_at
    assert {(a.video_id, a.author_id, a.revision) for a in actions} == {(video.video_id, video.author_id, 0)}


@given(indices, some_plays, st.randoms(use_true_random=False))
def test_the_order_in_which_actions_arrive_moves_no_sum(index: int, plays: int, random: Random) -> None:
    actions = list(draw_actions(3, row(index), plays))
    shuffled = list(actions)
    random.shuffle(shuffled)
    assert tallied(shuffled) == tallied(actions)


@given(seeds, indices, st.integers(20, 200), st.sampled_from([0.05, 0.1, 0.3]))
def test_brigading_adds_exactly_its_share_of_viewers_and_moves_nobody(
    seed: int, index: int, plays: int, share: float
) -> None:
    honest = {action.action_id: action for action in draw_actions(seed, row(index), plays)}
    attacked = list(draw_actions(seed, row(index), plays, attack=Attack(brigading=share)))
    added = [action for action in attacked if action.action_id not in honest]
    assert [action for action in attacked if action.action_id in honest] == list(honest.values())
    fakes = Counter(action.kind for action in added)
    assert fakes["play"] == fakes["comment"]
    assert set(fakes) == {"play", "comment"}
    assert abs(fakes["play"] / (plays + fakes["play"]) - share) <= 0.5 / plays
    wrong = wrong_class(seed, row(index))
    assert wrong != row(index).truth
    assert all(names(text, wrong) for text in texts(added))


def test_a_brigade_varies_its_wording_where_spam_repeats_itself() -> None:
    honest = texts(draw_actions(1, row(0), 400))
    fakes = Counter(texts(draw_actions(1, row(0), 400, attack=Attack(brigading=0.1)))) - Counter(honest)
    spam = Counter(texts(draw_actions(1, row(0), 400, attack=Attack(spam=0.5)))) - Counter(honest)
    assert fakes.total() == 44
    assert len(fakes) > 30
    assert spam.total() == 200
    assert len(spam) <= 4 * len(comment_phrases().spam)


def test_a_brigade_may_be_told_what_to_say_but_not_the_truth() -> None:
    told = Attack(brigading=0.2, wrong="animals.cats")
    video = next(row(index) for index in range(100) if BY_ID[str(row(index).truth)].topic != "naughty_pets")
    assert sum(names(text, "animals.cats") for text in texts(draw_actions(1, video, 100, attack=told))) >= 25
    for wrong in (str(video.truth), "no.class"):
        with pytest.raises(UserError, match="a brigade cannot take"):
            draw_actions(1, video, 100, attack=Attack(brigading=0.2, wrong=wrong))


def test_reports_are_those_of_the_share_asked_for() -> None:
    attacked = draw_actions(1, row(0), 100, attack=Attack(reports=0.25))
    assert 25 <= Counter(action.kind for action in attacked)["report"] <= 27


@settings(max_examples=15)
@given(indices)
def test_the_audience_and_its_words_follow_the_truth_when_it_is_another(index: int) -> None:
    """The same author, the same seed: only what the video is has changed."""
    video = row(index)
    truth = BY_ID[str(video.truth)]
    rival = next(d for d in CLASSES if d.topic == truth.topic and d.level1 != truth.level1)
    swapped = video.model_copy(update={"truth": rival.id})
    as_is, as_rival = (list(draw_actions(2, each, 2500)) for each in (video, swapped))
    for level1, more, less in ((truth.level1, as_is, as_rival), (rival.level1, as_rival, as_is)):
        assert tallied(more).audience[level1] > tallied(less).audience.get(level1, 0) + 250
    for class_id, more, less in ((truth.id, as_is, as_rival), (rival.id, as_rival, as_is)):
        assert sum(names(t, class_id) for t in texts(more)) > sum(names(t, class_id) for t in texts(less))


def test_viewers_of_the_true_vertical_see_more_of_it_and_like_it_more() -> None:
    watched: dict[bool, list[float]] = {True: [], False: []}
    likes: Counter[bool] = Counter()
    for index in range(40):
        level1 = BY_ID[str(row(index).truth)].level1
        for action in draw_actions(1, row(index), 200):
            own = action.viewer_vertical == level1
            if action.kind == "play" and action.viewer_vertical is not None:
                assert action.watched_s is not None
                assert action.duration_s is not None
                watched[own].append(action.watched_s / action.duration_s)
            elif action.kind == "like" and action.viewer_vertical is not None:
                likes[own] += 1
    means = {own: sum(shares) / len(shares) for own, shares in watched.items()}
    assert means[True] > means[False] + 0.1
    assert likes[True] / len(watched[True]) > 1.2 * likes[False] / len(watched[False])


def test_plays_have_a_long_tail_and_some_videos_none() -> None:
    plays = [draw_plays(1, row(index % 500, 5 + index // 500)) for index in range(2000)]
    assert 0.04 < plays.count(0) / len(plays) < 0.08
    assert sum(10 <= count <= 300 for count in plays) / len(plays) > 0.7
    assert 0.002 < sum(count >= 1000 for count in plays) / len(plays) < 0.05


def test_about_a_tenth_of_viewers_write_and_few_of_them_name_the_class() -> None:
    written = {index: texts(draw_actions(1, row(index), 200)) for index in range(50)}
    total = sum(map(len, written.values()))
    assert 0.08 < total / (50 * 200) < 0.12
    naming = sum(names(text, str(row(index).truth)) for index, said in written.items() for text in said)
    assert 0.08 < naming / total < 0.16


def test_profiles_are_mostly_right_sometimes_silent_and_do_not_change_within_a_week() -> None:
    at = row(0).published_at
    profiles = [draw_profile(f"s5-author-{index:04d}", at) for index in range(240)]
    strongest = [LEVEL1[place] for place in world(5).verticals.argmax(1)]
    silent = sum(profile.main_vertical is None for profile in profiles)
    right = sum(profile.main_vertical == main for profile, main in zip(profiles, strongest, strict=True))
    assert 15 < silent < 60
    assert 0.8 < right / (240 - silent) < 0.97
    assert all(profile.updated_at <= at for profile in profiles)
    assert draw_profile("s5-author-0007", profiles[7].updated_at) == profiles[7]


def test_an_unknown_author_or_class_is_one_sentence() -> None:
    with pytest.raises(UserError, match="the author local is not one of the generator's"):
        draw_actions(1, row(0).model_copy(update={"author_id": "local"}))
    with pytest.raises(UserError, match="has the truth None"):
        draw_actions(1, row(0).model_copy(update={"truth": None}))


@given(indices)
def test_snapshots_rise_and_the_last_counts_everything(index: int) -> None:
    found = draw_signals(5, row(index)).snapshots
    plays = draw_plays(5, row(index))
    assert [snapshot.plays for snapshot in found][:-1] == [10**n for n in range(1, 5) if 10**n < plays]
    assert all(earlier.seq < later.seq for earlier, later in itertools.pairwise(found))
    if plays:
        tally = tallied(draw_actions(5, row(index)))
        assert found[-1] == tally.snapshot(row(index).video_id, found[-1].seq, found[-1].window_end)
        assert int(found[-1].window_end.timestamp() * 1000) == tally.latest_ms
    else:
        assert not found


@given(indices)
def test_a_brigaded_snapshot_is_the_last_one_with_the_burst_in(index: int) -> None:
    honest, brigaded = draw_signals(5, row(index)).snapshots, brigaded_snapshot(5, row(index), 0.05)
    if not honest:
        assert brigaded is None
        return
    assert brigaded is not None
    fakes = brigaded.plays - honest[-1].plays
    assert fakes == brigaded.comments - honest[-1].comments == max(1, round(honest[-1].plays * 0.05 / 0.95))
    assert (brigaded.likes, brigaded.shares, brigaded.audience) == (
        honest[-1].likes,
        honest[-1].shares,
        honest[-1].audience,
    )
