"""What the desk says and understands, without a database."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.taxonomy import default_taxonomy
from stream.review.categories import search
from stream.review.typed import Key, NoSuchNumber, Pick, Search, read
from stream.words import author_words, engagement_words, instant, named, span, visible


@given(st.text(alphabet=st.characters(), max_size=50), st.none() | st.integers(1, 20))
def test_nothing_that_steers_a_terminal_comes_out(text: str, limit: int | None) -> None:
    said = visible(text, limit)
    assert all(unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} for character in said)
    assert not set(said) & set("\u202e\u2066\u200f")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("家常菜 [bold]\n 教程", "家常菜 [bold] 教程"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("\u202eabc", "\\u202eabc"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("", ""),
    ],
)
def test_text_stays_what_it_is_but_for_that(text: str, said: str) -> None:
    assert visible(text) == said


@given(st.text(max_size=30), st.integers(0, 9))
def test_whatever_is_typed_means_something(line: str, choices: int) -> None:
    match read(line, choices):
        case Pick(place):
            assert 0 <= place < choices
        case Search(words):
            assert words
        case said:
            assert isinstance(said, Key | NoSuchNumber)


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("", Key.CONFIRM),
        (" \n", Key.CONFIRM),
        ("E", Key.ESCALATE),
        ("？", Key.HELP),
        ("2", Pick(1)),
        ("３", Pick(2)),
        ("0", NoSuchNumber("0")),
        ("4", NoSuchNumber("4")),
        ("9" * 5000, NoSuchNumber("999999")),
        ("美食", Search("美食")),
        ("quit", Search("quit")),
    ],
)
def test_a_line_is_a_key_a_number_or_words(line: str, meaning: object) -> None:
    assert read(line, 3) == meaning


def test_a_category_is_found_by_any_of_its_names_and_the_closest_comes_first() -> None:
    taxonomy = default_taxonomy()
    topic = taxonomy.level2[17]
    vertical = taxonomy.level1[taxonomy.level1_index[topic.parent]]
    for words in (topic.id, topic.zh, topic.en.upper(), f"{vertical.zh} {topic.zh}"):
        assert topic.id in [category.id for category in search(taxonomy, words)[:5]], words
    assert search(taxonomy, vertical.id)[0].id == vertical.id
    assert {c.id for c in search(taxonomy, vertical.id)} >= {t.id for t in taxonomy.level2 if t.parent == vertical.id}
    assert len(search(taxonomy, "")) == len(taxonomy.level1) + len(taxonomy.level2)
    assert search(taxonomy, "no such thing") == []


def test_a_category_that_the_taxonomy_has_not_is_named_by_its_id() -> None:
    taxonomy = default_taxonomy()
    first = taxonomy.level2[0]
    assert named(first.id, taxonomy) == f"{first.zh} {first.en} ({first.id})"
    assert named("gone.\x1bcategory", taxonomy) == "gone.\\x1bcategory"


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (timedelta(seconds=40), "40 s"),
        (timedelta(minutes=119), "119 min"),
        (timedelta(hours=30), "30 h"),
        (timedelta(days=3, hours=4), "3 d"),
        (-timedelta(hours=5), "-5 h"),
    ],
)
def test_a_span_is_said_in_its_largest_unit(time: timedelta, said: str) -> None:
    assert span(time) == said


def test_an_instant_is_said_in_utc() -> None:
    beijing = timezone(timedelta(hours=8))
    assert instant(datetime(2026, 4, 1, 7, 30, tzinfo=beijing)) == "2026-03-31 23:30:00Z"


def test_evidence_is_said_in_words() -> None:
    author = {"history": {"food": 6.0, "sport": 2.0}, "main_vertical": "food", "interests": {}, "verified": True}
    assert author_words(author) == "about 8 earlier videos: food 75 %, sport 25 %; main vertical food; verified"
    engagement = {
        "plays": 5000,
        "completion_rate": 0.9,
        "audience": {"food": 0.8, "sport": 0.2},
        "reports": 3,
        "top_comments": ["好吃\x1b[2J"],
    }
    assert engagement_words(engagement) == (
        "5,000 plays; completion 90 %; audience food 80 %, sport 20 %; 3 reports; comments “好吃\\x1b[2J”"
    )
    assert (author_words(None), engagement_words(None)) == ("nothing known", "nothing known")
