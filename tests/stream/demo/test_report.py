"""The demo's verdict finds each way its promises can break."""

from dataclasses import replace

import pytest

from stream.demo.report import Announced, DemoReport, Stored, summarise


def a_row(video_id: str, **changes: object) -> Stored:
    row = Stored(video_id, 1, 1, 1, 1, "accept", False, "food", "food.home_cooking", 0)
    return replace(row, **changes)


def an_event(video_id: str, ms: int = 150, ce_id: str = "", revision: int | None = 1) -> Announced:
    return Announced(video_id, ce_id or f"label-{video_id}", ms, revision)


def judge(
    rows: list[Stored], labels: list[Announced], reviews: list[Announced] | None = None, published: int = 2
) -> DemoReport:
    sent = dict.fromkeys("abcd"[:published], 100)
    truth = {"a": ("food", "food.home_cooking"), "b": ("food", "food.street_food")}
    return summarise(sent, rows, labels, reviews or [], truth)


def test_a_clean_run_holds_and_its_figures_are_the_rows() -> None:
    report = judge([a_row("a"), a_row("b")], [an_event("a", 150), an_event("b", 300)])
    assert report.holds
    assert (report.published, report.decided, report.labelled, report.lost, report.duplicates) == (2, 2, 2, 0, 0)
    assert (report.accuracy_level1, report.accuracy_level2) == (1.0, 0.5)
    assert (report.latency_p50_ms, report.latency_p99_ms) == (50.0, 200.0)
    assert report.videos_per_s == 10.0


def test_the_same_event_delivered_twice_is_no_duplicate_but_two_events_are() -> None:
    rows = [a_row("a"), a_row("b")]
    assert judge(rows, [an_event("a"), an_event("a"), an_event("b")]).duplicates == 0
    assert judge(rows, [an_event("a"), an_event("a", ce_id="other"), an_event("b")]).duplicates == 1


def test_a_label_that_is_stored_but_never_announced_is_lost() -> None:
    assert judge([a_row("a"), a_row("b")], [an_event("a")]).lost == 1


def test_a_video_without_a_row_is_lost() -> None:
    assert judge([a_row("a")], [an_event("a")]).lost == 1


def test_a_dead_letter_is_not_lost() -> None:
    gone = a_row("b", predictions=0, publish_decisions=0, labels=0, label_revision=None, route=None, dead=1)
    report = judge([a_row("a"), gone], [an_event("a")])
    assert report.holds
    assert report.dead == 1


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"predictions": 0}, "predictions"),
        ({"publish_decisions": 0}, "publish decisions"),
        ({"label_revision": 2}, "newest announced"),
        ({"route": "review"}, "review requested"),
        ({"audit": True}, "review requested"),
        ({"dead": 1}, "dead-lettered"),
    ],
)
def test_each_broken_promise_is_named(changes: dict[str, object], word: str) -> None:
    report = judge([a_row("a", **changes), a_row("b")], [an_event("a"), an_event("b")])
    assert not report.holds
    assert word in report.violations[0]


def test_a_review_request_nobody_routed_is_a_broken_promise() -> None:
    events = [an_event("a"), an_event("b")]
    assert judge([a_row("a"), a_row("b")], events, [an_event("a", revision=None)]).violations
    routed = [a_row("a", route="review"), a_row("b")]
    assert judge(routed, events, [an_event("a", revision=None)]).holds
