from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from models.decision.supersede import Standing, contradicts, supersedes

standings = st.builds(
    Standing,
    revision=st.integers(0, 3),
    promotion_epoch=st.integers(0, 3),
    human=st.booleans(),
    level1=st.sampled_from(["food", "pets"]),
    level2=st.sampled_from(["food.a", "food.b", "pets.a", None]),
)


def settle(candidates: list[Standing]) -> Standing | None:
    """What stands after candidates arrived in this order."""
    return reduce(lambda current, new: new if supersedes(current, new) else current, candidates, None)


@given(standings, standings)
def test_any_two_labels_can_be_ordered(a: Standing, b: Standing) -> None:
    assert supersedes(a, b) or supersedes(b, a)


@given(standings, standings, standings)
def test_the_order_has_no_cycles(a: Standing, b: Standing, c: Standing) -> None:
    if supersedes(a, b) and supersedes(b, c):
        assert supersedes(a, c)


@given(st.data())
def test_the_label_that_stands_does_not_depend_on_the_order_of_arrival(data: st.DataObject) -> None:
    # labels of equal rank were decided one after the other under the row lock: there, order is meaning
    def rank(label: Standing) -> object:
        return (label.revision, "human" if label.human else label.promotion_epoch)

    candidates = data.draw(st.lists(standings, min_size=1, max_size=6, unique_by=rank))
    assert settle(candidates) == settle(data.draw(st.permutations(candidates)))


@given(standings)
def test_anything_stands_where_nothing_stood(candidate: Standing) -> None:
    assert supersedes(None, candidate)


@given(standings, standings)
def test_a_newer_revision_wins(a: Standing, b: Standing) -> None:
    if a.revision != b.revision:
        assert supersedes(a, b) == (b.revision > a.revision)


@given(standings, standings)
def test_within_a_revision_no_model_beats_a_human(a: Standing, b: Standing) -> None:
    human, model = a._replace(human=True), b._replace(human=False, revision=a.revision)
    assert not supersedes(human, model)
    assert supersedes(model, human)


def test_a_rollback_beats_the_model_it_takes_back_and_a_late_answer_of_that_model_loses() -> None:
    first, promoted, rolled_back = (Standing(revision=0, promotion_epoch=epoch) for epoch in (1, 2, 3))
    assert settle([first, promoted, rolled_back]) == rolled_back
    assert settle([first, rolled_back, promoted]) == rolled_back


def test_new_evidence_moves_a_label_of_the_same_epoch() -> None:
    before = Standing(revision=1, promotion_epoch=4, level1="food")
    after = Standing(revision=1, promotion_epoch=4, level1="pets")
    assert settle([before, after]) == after


def test_a_correction_by_a_second_reviewer_stands_whatever_model_was_live() -> None:
    first = Standing(revision=1, promotion_epoch=5, human=True, level1="food")
    second = Standing(revision=1, promotion_epoch=4, human=True, level1="pets")
    assert settle([first, second]) == second


HUMAN = Standing(revision=2, promotion_epoch=1, human=True, level1="food", level2="food.a")


def test_a_model_that_disagrees_with_a_human_calls_for_another_look() -> None:
    assert contradicts(HUMAN, Standing(revision=2, promotion_epoch=9, level1="pets", level2="pets.a"))
    assert contradicts(HUMAN, Standing(revision=3, promotion_epoch=1, level1="food", level2="food.b"))


def test_agreement_silence_and_old_revisions_call_for_none() -> None:
    assert not contradicts(HUMAN, Standing(revision=3, promotion_epoch=1, level1="food", level2="food.a"))
    assert not contradicts(HUMAN, Standing(revision=3, promotion_epoch=1, level1="food"))
    assert not contradicts(HUMAN, Standing(revision=1, promotion_epoch=1, level1="pets", level2="pets.a"))


@given(standings, standings)
def test_only_a_model_contradicts_and_only_a_human(a: Standing, b: Standing) -> None:
    if contradicts(a, b):
        assert a.human
        assert not b.human
