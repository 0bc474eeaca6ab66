"""The ledger finds each planted breach: a harness that cannot fail proves nothing."""

from dataclasses import replace

from tests.faults.ledger import Seen, Source, judge, misnumbered

A, B = ("a", 0), ("b", 0)
CLEAN = Seen(
    source=[Source(0, 0, A), Source(0, 1, B)],
    decisions=[A, B],
    dead_letters=[],
    dead_letters_unparsed=0,
    labels={"a": {"1/x"}, "b": {"1/y"}},
    label_revisions={"a": 1, "b": 1},
    committed={0: 2},
    in_outbox=0,
)


def test_a_clean_run_holds() -> None:
    assert judge(CLEAN, set()).holds


def test_an_input_with_neither_decision_nor_dead_letter_is_lost_and_its_commit_was_too_early() -> None:
    verdict = judge(replace(CLEAN, decisions=[A], label_revisions={"a": 1}), set())
    assert verdict.counts() | {"lost": 1, "committed_past_durable": 1} == verdict.counts()


def test_two_decisions_of_one_input_are_a_double_effect() -> None:
    assert judge(replace(CLEAN, decisions=[A, A, B]), set()).double_effects == ["a revision 0"]


def test_a_decision_beside_a_dead_letter_is_a_double_effect() -> None:
    assert judge(replace(CLEAN, dead_letters=[A]), {A}).double_effects == ["a revision 0"]


def test_one_label_revision_announced_under_two_identities_is_a_double_effect() -> None:
    assert judge(replace(CLEAN, labels={"a": {"1/x", "1/z"}, "b": {"1/y"}}), set()).double_effects


def test_a_healthy_input_that_died_is_a_wrong_dead_letter() -> None:
    assert judge(replace(CLEAN, decisions=[A], dead_letters=[B]), set()).wrong_dead_letters == ["b revision 0"]


def test_poison_that_was_decided_is_wrong() -> None:
    assert judge(CLEAN, {B}).wrong_dead_letters == ["b revision 0"]


def test_a_label_in_force_that_nobody_was_told_of_is_found() -> None:
    assert judge(replace(CLEAN, label_revisions={"a": 2, "b": 1}), set()).unannounced == ["a"]
    assert judge(replace(CLEAN, in_outbox=3), set()).unannounced


def test_a_label_revision_that_is_skipped_repeated_or_kept_quiet_is_found() -> None:
    assert misnumbered({"a": [2, 1]}, {"a": {"1/x", "2/y"}}) == []
    assert misnumbered({"a": [1, 3]}, {"a": {"1/x", "3/y"}})
    assert misnumbered({"a": [1, 1]}, {"a": {"1/x", "1/y"}})
    assert misnumbered({"a": [1, 2]}, {"a": {"1/x"}})
    assert misnumbered({"a": [1, 2]}, {"a": {"1/x", "2/y", "2/z"}})
