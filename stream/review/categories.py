"""Finding a category by some of its letters. Pure."""

from __future__ import annotations

from typing import NamedTuple

from schemas.taxonomy import Level1, Level2, Taxonomy


class Category(NamedTuple):
    """parent: None for a level-1 category."""

    id: str
    zh: str
    en: str
    parent: str | None


def search(taxonomy: Taxonomy, words: str) -> list[Category]:
    """Categories of either level in which every word occurs, in a name or an id, its parent's counting as its own.

    Those whose own name or id is just that come first, then those that hold every word themselves; else a vertical is
    followed by its topics, in the taxonomy's order. No word finds all.
    """
    wanted = words.casefold().split()
    found = []
    for vertical in taxonomy.level1:
        topics = [topic for topic in taxonomy.level2 if topic.parent == vertical.id]
        for each in (vertical, *topics):
            own = _text(each)
            if all(word in own + _text(vertical) for word in wanted):
                found.append((_rank(each, own, wanted), each))
    return [_category(each) for _, each in sorted(found, key=lambda item: item[0])]


def _text(category: Level1) -> str:
    return f"{category.id}\n{category.zh}\n{category.en}\n".casefold()


def _rank(category: Level1, own: str, wanted: list[str]) -> int:
    if not wanted:
        return 0
    if " ".join(wanted) in (name.casefold() for name in (category.id, category.zh, category.en)):
        return 0
    return 1 if all(word in own for word in wanted) else 2


def _category(category: Level1) -> Category:
    return Category(category.id, category.zh, category.en, category.parent if isinstance(category, Level2) else None)
