"""The taxonomy: its order is the order of logits, its id is its content, and a bad file is explained."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import UserError
from schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy, default_taxonomy, load_taxonomy, parse_taxonomy

DEFAULT = default_taxonomy()


def small() -> dict[str, Any]:
    def category(name: str, **more: object) -> dict[str, Any]:
        return {"id": name, "zh": "名", "en": "name", "prompts": {"zh": ["一"], "en": ["one"]}, "harm": 0.5, **more}

    return {
        "version": 1,
        "name": "small",
        "level1": [category("a"), category("b")],
        "level2": [category("a.x", parent="a"), category("b.x", parent="b"), category("a.y", parent="a")],
    }


def test_the_default_has_23_verticals_and_about_200_topics() -> None:
    assert len(DEFAULT.level1) == 23
    assert 190 <= len(DEFAULT.level2) <= 210
    assert min(Counter(category.parent for category in DEFAULT.level2).values()) >= 3


def test_names_of_the_default_are_unique_within_their_level() -> None:
    for level in (DEFAULT.level1, DEFAULT.level2):
        for attribute in ("id", "zh", "en"):
            names = [getattr(category, attribute) for category in level]
            assert len(names) == len(set(names)), attribute


def test_every_category_of_the_default_has_two_prompts_in_each_language() -> None:
    for category in (*DEFAULT.level1, *DEFAULT.level2):
        assert len(category.prompts.zh) >= 2
        assert len(category.prompts.en) >= 2


def test_a_wrong_answer_harms_most_where_health_money_and_news_are() -> None:
    harm = {category.id: category.harm for category in (*DEFAULT.level1, *DEFAULT.level2)}
    serious = ["health.medical_advice", "finance.stocks_funds", "society.current_affairs", "knowledge.law"]
    assert min(harm[each] for each in serious) >= 0.5 > max(harm[each] for each in ("food.baking", "animals.cats"))
    assert min(category.harm for category in DEFAULT.level2 if category.parent == "parenting") >= 0.3


def test_the_file_is_laid_out_as_to_json_writes_it() -> None:
    assert DEFAULT_TAXONOMY.read_text(encoding="utf-8") == DEFAULT.to_json()


def test_the_id_is_the_content_and_not_the_layout() -> None:
    document = json.loads(DEFAULT.to_json())
    reordered = {name: document[name] for name in reversed(document)}
    assert parse_taxonomy(json.dumps(reordered, indent=7), "test").id == DEFAULT.id
    document["level2"][0]["harm"] = 0.99
    assert parse_taxonomy(json.dumps(document), "test").id != DEFAULT.id


def test_the_id_of_a_given_content_never_changes() -> None:
    assert parse_taxonomy(json.dumps(small()), "test").id == "tx-64ecddea9e0a0f7c"


def test_order_counts() -> None:
    swapped = small()
    swapped["level2"].reverse()
    assert parse_taxonomy(json.dumps(swapped), "test").id != parse_taxonomy(json.dumps(small()), "test").id


def test_indices_follow_the_order_of_the_file() -> None:
    taxonomy = parse_taxonomy(json.dumps(small()), "test")
    assert taxonomy.parent_index == [0, 1, 0]
    assert taxonomy.level1_index == {"a": 0, "b": 1}
    assert taxonomy.level2_index == {"a.x": 0, "b.x": 1, "a.y": 2}


def test_a_category_is_found_by_its_id() -> None:
    assert DEFAULT.parent_of("food.home_cooking") == "food"
    assert (DEFAULT.name_of("food"), DEFAULT.name_of("food.home_cooking")) == ("美食", "家常菜")
    for find in (DEFAULT.parent_of, DEFAULT.name_of):
        with pytest.raises(KeyError):
            find("food.stones")


def test_a_subset_keeps_order_and_takes_only_the_parents_it_needs() -> None:
    wanted = {"society.weather", "food.baking", "food.home_cooking"}
    subset = DEFAULT.subset(wanted)
    assert [category.id for category in subset.level2] == ["food.home_cooking", "food.baking", "society.weather"]
    assert [category.id for category in subset.level1] == ["food", "society"]
    assert subset.parent_index == [0, 0, 1]
    assert parse_taxonomy(subset.to_json(), "test") == subset
    assert DEFAULT.subset(DEFAULT.level2_index.keys()).id == DEFAULT.id
    with pytest.raises(UserError, match=r"food\.stones"):
        DEFAULT.subset({"food.stones"})
    with pytest.raises(UserError, match="no category"):
        DEFAULT.subset(set())


Damage = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda it: it["level2"][0].update(parent="c", id="c.x"), "c.x has the parent c"),
        (lambda it: it["level2"][0].update(id="z.x"), "z.x does not begin with"),
        (lambda it: it["level2"].append(it["level2"][0]), "a.x is there twice"),
        (lambda it: it["level1"].append(it["level1"][0]), "a is there twice"),
        (lambda it: it["level2"].pop(1), "b has no level-2 category"),
        (lambda it: it.update(level1=[]), "level1"),
        (lambda it: it["level2"][0].update(id="A x"), "level2.0.id"),
        (lambda it: it["level2"][0].update(harm=2), "level2.0.harm"),
        (lambda it: it["level2"][0]["prompts"].update(en=[]), "level2.0.prompts.en"),
        (lambda it: it.update(colour="red"), "colour"),
        (lambda it: it.pop("version"), "version"),
    ],
)
def test_a_bad_taxonomy_is_refused_with_the_place_of_the_fault(damage: Damage, message: str, tmp_path: Path) -> None:
    document = small()
    damage(document)
    file = tmp_path / "taxonomy.json"
    file.write_text(json.dumps(document))
    with pytest.raises(UserError) as caught:
        load_taxonomy(file)
    assert message in caught.value.message
    assert str(file) in caught.value.message
    assert caught.value.remedy


def test_what_is_no_file_or_no_json_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_taxonomy(tmp_path / "none.json")
    (tmp_path / "text.json").write_bytes(b"\xff{")
    with pytest.raises(UserError, match="is not a taxonomy"):
        load_taxonomy(tmp_path / "text.json")


def test_a_taxonomy_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        DEFAULT.name = "other"  # type: ignore[misc]  # the assignment is the point
    assert isinstance(DEFAULT, Taxonomy)
