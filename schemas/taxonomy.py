"""The taxonomy: level-1 and level-2 categories, in the order every array of logits follows.

Format (JSON, UTF-8): version, name, level1[] and level2[]. A category has an id (ASCII slug; a level-2 id begins
with its parent's), names in Chinese and English, prompts in both for models that read text, and harm: from 0 to 1,
how bad a wrong answer is for people. Order is meaning: index i of a model's output is the i-th entry here.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import UserError

DEFAULT_TAXONOMY = Path(__file__).parent / "taxonomies" / "short_video_zh.json"

CategoryId = Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$", max_length=64)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Prompt = Annotated[str, Field(min_length=1, max_length=256)]


class Prompts(BaseModel):
    """Sentences that describe the category to a text encoder; at least one in each language."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    zh: Annotated[tuple[Prompt, ...], Field(min_length=1)]
    en: Annotated[tuple[Prompt, ...], Field(min_length=1)]


class Level1(BaseModel):
    """A vertical, such as food."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: CategoryId
    zh: Name
    en: Name
    prompts: Prompts
    harm: Annotated[float, Field(ge=0.0, le=1.0)]


class Level2(Level1):
    """A topic inside a vertical, such as food.home_cooking."""

    parent: CategoryId


class Taxonomy(BaseModel):
    """Two levels of categories. Equal content has equal `id`, however the file is laid out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1, strict=True)]
    name: Name
    level1: Annotated[tuple[Level1, ...], Field(min_length=1)]
    level2: Annotated[tuple[Level2, ...], Field(min_length=1)]

    @cached_property
    def id(self) -> str:
        """'tx-' and 16 hex digits: SHA-256 of the content, independent of key order and white space."""
        canonical = json.dumps(self.model_dump(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return "tx-" + hashlib.sha256(canonical.encode("utf-8")).hexdigest()[:16]

    @cached_property
    def level1_index(self) -> dict[str, int]:
        """Level-1 id -> its place."""
        return {category.id: place for place, category in enumerate(self.level1)}

    @cached_property
    def level2_index(self) -> dict[str, int]:
        """Level-2 id -> its place."""
        return {category.id: place for place, category in enumerate(self.level2)}

    @cached_property
    def parent_index(self) -> list[int]:
        """[C2]: the level-1 place of each level-2 category."""
        return [self.level1_index[category.parent] for category in self.level2]

    def parent_of(self, level2_id: str) -> str:
        """The level-1 id of a level-2 category. KeyError for an id that is not here."""
        return self.level2[self.level2_index[level2_id]].parent

    def name_of(self, category_id: str) -> str:
        """The Chinese name of a category of either level. KeyError for an id that is not here."""
        place = self.level1_index.get(category_id)
        return self.level2[self.level2_index[category_id]].zh if place is None else self.level1[place].zh

    def subset(self, level2_ids: Collection[str]) -> Taxonomy:
        """The same taxonomy with these level-2 categories and their parents alone, in the same order.

        Raises UserError for an id that is not here, or for none at all.
        """
        if not level2_ids:
            raise UserError(f"a subset of taxonomy {self.name} was asked for with no category", "name some")
        if unknown := sorted(set(level2_ids) - self.level2_index.keys()):
            raise UserError(
                f"taxonomy {self.name} has no level-2 category {unknown[0]}", "use ids of its level2 list alone"
            )
        kept = tuple(category for category in self.level2 if category.id in level2_ids)
        parents = {category.parent for category in kept}
        return Taxonomy(
            version=self.version,
            name=self.name,
            level1=tuple(category for category in self.level1 if category.id in parents),
            level2=kept,
        )

    def to_json(self) -> str:
        """The file format: one category a line, so that a change reads well in a diff."""

        def lines(categories: Iterable[Level1]) -> str:
            return ",\n".join("    " + json.dumps(c.model_dump(), ensure_ascii=False) for c in categories)

        head = f'  "version": {self.version},\n  "name": {json.dumps(self.name, ensure_ascii=False)},\n'
        return f'{{\n{head}  "level1": [\n{lines(self.level1)}\n  ],\n  "level2": [\n{lines(self.level2)}\n  ]\n}}\n'


def parse_taxonomy(text: str | bytes, origin: str) -> Taxonomy:
    """A taxonomy from JSON; `origin` names it in messages. Raises UserError, naming the entry at fault."""
    try:
        taxonomy = Taxonomy.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise UserError(f"{origin} is not a taxonomy: {_place(first['loc'])}{first['msg']}", _FORMAT) from error
    _check(taxonomy, origin)
    return taxonomy


def load_taxonomy(path: Path) -> Taxonomy:
    """Read a taxonomy file. Raises UserError where it cannot be read or is not one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"the taxonomy {path} cannot be read: {error.strerror}", "name a taxonomy JSON file") from error
    return parse_taxonomy(content, str(path))


@cache
def default_taxonomy() -> Taxonomy:
    """Chinese short video: 23 level-1 and about 200 level-2 categories."""
    return load_taxonomy(DEFAULT_TAXONOMY)


_FORMAT = "see schemas/taxonomies/short_video_zh.json for the format"


def _check(taxonomy: Taxonomy, origin: str) -> None:
    """What the types cannot say: ids are unique, parents exist, no vertical is empty."""
    ids = Counter(category.id for category in (*taxonomy.level1, *taxonomy.level2))
    if twice := [each for each, count in ids.items() if count > 1]:
        raise UserError(f"{origin} is not a taxonomy: the id {twice[0]} is there twice", "give every category its own")
    for category in taxonomy.level2:
        if category.parent not in taxonomy.level1_index:
            raise UserError(
                f"{origin} is not a taxonomy: {category.id} has the parent {category.parent}, which is not in level1",
                "add the parent to level1 or name another",
            )
        if not category.id.startswith(category.parent + "."):
            raise UserError(
                f"{origin} is not a taxonomy: {category.id} does not begin with its parent's id",
                f"call it {category.parent}.{category.id.rpartition('.')[2]}",
            )
    parents = {category.parent for category in taxonomy.level2}
    if empty := [category.id for category in taxonomy.level1 if category.id not in parents]:
        raise UserError(f"{origin} is not a taxonomy: {empty[0]} has no level-2 category", "give it one or take it out")


def _place(loc: Iterable[Any]) -> str:
    where = ".".join(str(part) for part in loc)
    return f"{where}: " if where else ""
