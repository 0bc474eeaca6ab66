"""What `reelsort bench evidence` counts, on made-up videos whose decisions are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.decision.types import AuthorEvidence, ContentEvidence, EngagementEvidence
from models.training.evidence_bench import Judged, Worth, calibration_error, measure, shuffled
from models.training.signal_items import Item
from stream.bench.evidence import report, tables
from tests.models.decision.cases import make_policy
from tests.models.decision.signal_cases import make_head, make_rules

# two classes of one vertical each; a comment's single n-gram decides alone
CONTENT = make_policy([0, 1], level2_thresholds=np.full(2, 0.6, np.float32))
POLICY = replace(
    CONTENT,
    signals=make_rules(CONTENT, make_head(2, 2, vertical_weight=2.0, history_weight=0.0, comments_weight=0.0)),
)


def video(number: int, target: int, says: int, author: int | None) -> Item:
    """Content leans to `says`; an author who publishes `author` alone."""
    logits = np.zeros(2, np.float32)
    logits[says] = 0.6
    known = None if author is None else AuthorEvidence(main_vertical=author, verified=False)
    return Item(f"v{number}", 0, ContentEvidence(np.zeros(2, np.float32), logits), target, known, ())


@pytest.fixture(scope="module")
def worth() -> Worth:
    items = [
        video(0, target=1, says=0, author=1),  # the author puts it right
        video(1, target=0, says=0, author=None),
        video(2, target=1, says=1, author=1),
        video(3, target=1, says=0, author=None),  # wrong, and nothing tells
    ]
    # audience_weight 1.0: 10,000 viewers of the other vertical turn the second video over
    attack = EngagementEvidence(10_000, 0.5, ((1, 1.0),))
    tests = Judged(1, items, [True, False, False, True], [None, attack, None, None], [0, 1, 0, 0])
    return measure(tests, POLICY, CONTENT, CONTENT)


def test_accuracy_is_of_the_answers_in_each_half(worth: Worth) -> None:
    content, author = worth.accuracy["content"], worth.accuracy["author"]
    assert (content.all, content.clear, content.ambiguous) == (0.5, 1.0, 0.0)
    assert (author.all, author.clear, author.ambiguous) == (0.75, 1.0, 0.5)
    assert worth.accuracy["both"] == author
    assert worth.accuracy["other authors"] == content


def test_what_a_brigade_turned_over_is_counted_among_published_labels_and_answers(worth: Worth) -> None:
    assert worth.published["both"] == (1.0, 0.25)
    assert worth.brigade_flips == 0.25
    assert worth.brigade_level1_flips == 0.25
    assert worth.brigade_withheld == 0.0
    assert worth.brigade_answers == 0.25
    assert worth.brigade_published == 0.25


def test_results_come_back_from_their_file_and_make_a_table(worth: Worth, tmp_path: Path) -> None:
    path = tmp_path / "seed-1.json"
    worth.save(path)
    assert Worth.load(path) == worth
    result = report([worth, replace(worth, brigade_flips=0.0)])
    assert result["accuracy"]["author"]["ambiguous"] == (0.5, 0.0)
    assert result["brigade"]["published labels that flip"] == (0.125, pytest.approx(0.1768, abs=1e-4))
    assert result["ece_pooled"]["both"] == pytest.approx(calibration_error([worth], "both"))
    assert result["ece_largest"]["both"] == pytest.approx(worth.ece("both"))
    assert result["gain"]["ambiguous half: the author"] == (0.5, 0.0)
    assert result["gain"]["all: authors of other videos"] == (0.0, 0.0)
    # two sets of the same videos: chance makes less of twice as many
    assert 0.0 < result["ece_pooled_by_chance"]["both"] < result["ece_by_chance"]["both"][0]
    assert [table.row_count for table in tables(result)] == [6, len(result["gain"]), 4, 4, 5]


def test_shuffling_moves_one_kind_of_signal_alone() -> None:
    items = [replace(video(n, 0, 0, n % 2), engagements=(EngagementEvidence(plays=n + 1),)) for n in range(20)]
    for authors in (True, False):
        moved = shuffled(items, 3, authors=authors)
        assert moved == shuffled(items, 3, authors=authors)
        assert [item.video_id for item in moved] == [item.video_id for item in items]
        assert ([item.author for item in moved] != [item.author for item in items]) == authors
        assert ([item.engagements for item in moved] == [item.engagements for item in items]) == authors
        assert sorted(item.engagements[0].plays for item in moved) == list(range(1, 21))
