"""Title, OCR, ASR and tags -> one token sequence, by characters, by words, or by a published model's word pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from models.bundle import TextTemplate, Tokens
from schemas.errors import UserError

PAD, UNKNOWN, START, END_OF_FIELD = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL_TOKENS = (PAD, UNKNOWN, START, END_OF_FIELD)

# A field is cut to this many characters a token before it is normalised, so that a megabyte of text costs nothing.
# NFKC never joins more than four characters into one; words and word pieces are seldom longer than sixteen.
_CHARACTERS_PER_TOKEN = 4
_CHARACTERS_PER_WORD = 16


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """What a tokenizer calls the tokens that stand for no text."""

    pad: int
    unknown: int
    start: int
    end: int  # of a field


@dataclass(frozen=True, slots=True)
class TextFields:
    """What is known of a video in words. A missing field is empty."""

    title: str = ""
    ocr: tuple[str, ...] = ()
    asr: str = ""
    tags: tuple[str, ...] = ()

    def field(self, name: str) -> str:
        """One field as one string; lists are joined by spaces."""
        value: str | tuple[str, ...] = getattr(self, name)
        return value if isinstance(value, str) else " ".join(value)


def empty_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    """Single characters after NFKC, lower-casing and squeezing of white space; the vocabulary decides their ids."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return tokenizer


def train_tokenizer(texts: Iterable[str], *, min_count: int, tokens: Tokens = "characters") -> Tokenizer:
    """A tokenizer that knows every character, and every word where `tokens` says so, seen at least `min_count` times.

    The same texts give the same ids.
    """
    counting = empty_tokenizer({UNKNOWN: 0})
    seen: Counter[str] = Counter()
    for text in texts:
        normalised = counting.normalizer.normalize_str(text)
        if tokens == "words":
            cut = words(normalised)
            seen.update(word for word in cut if len(word) > 1)
            normalised = "".join(cut)
        seen.update(normalised)
    kept = sorted((c for c, count in seen.items() if count >= min_count), key=lambda c: (-seen[c], c))
    return empty_tokenizer({token: index for index, token in enumerate([*SPECIAL_TOKENS, *kept])})


def segmenter() -> str:
    """What words() cuts by. Its dictionary is compiled into it, so the version is all that decides where it cuts."""
    return f"rjieba {version('rjieba')}"


def with_tokens(template: TextTemplate, tokens: Tokens) -> TextTemplate:
    """The template read by such tokens; words are cut as they are here and now."""
    return template.model_copy(update={"tokens": tokens, "segmenter": segmenter() if tokens == "words" else None})


def words(normalised: str) -> list[str]:
    """Text cut into words; white space between them is gone."""
    import rjieba  # reads its dictionary when it is imported: 0.2 s that only bundles of words need

    return [word for word in rjieba.cut(normalised) if not word.isspace()]


class TextEncoder:
    """A template and a tokenizer, which together are what a bundle says about text."""

    def __init__(self, template: TextTemplate, tokenizer: Tokenizer) -> None:
        """Raises UserError where the template and the tokenizer cannot work together."""
        unknown = [name for name in template.fields if name not in TextFields.__dataclass_fields__]
        if unknown:
            raise UserError(
                f"the text template names the field {unknown[0]}", f"use {', '.join(TextFields.__dataclass_fields__)}"
            )
        missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
        if missing:
            raise UserError(f"the tokenizer has no {missing[0]} token", "export the bundle again")
        longest = 1 + sum(template.max_tokens[name] + 1 for name in template.fields)
        if longest > max(template.length_buckets):
            raise UserError(
                f"the text template allows {longest} tokens, its longest bucket holds {max(template.length_buckets)}",
                "lower max_tokens or add a longer bucket",
            )
        by_characters = isinstance(tokenizer.model, models.WordLevel)
        if template.tokens == "words" and not by_characters:
            raise UserError("the tokenizer has word pieces, not words", "set the text template's tokens to characters")
        if template.tokens == "words" and template.segmenter != (here := segmenter()):
            cut_by = template.segmenter or "a segmenter that is not named"
            raise UserError(
                f"the model learnt words that were cut by {cut_by}; {here} is installed, which may cut others",
                f"install {cut_by}, or train again" if template.segmenter else "train again",
            )
        tokenizer.encode_special_tokens = True  # what a user writes is text, even where it reads [SEP]
        self.template = template
        self.tokenizer = tokenizer
        self._vocabulary = tokenizer.get_vocab()
        self.special = SpecialIds(*(self._vocabulary[token] for token in SPECIAL_TOKENS))
        short = by_characters and template.tokens == "characters"
        self._characters_per_token = _CHARACTERS_PER_TOKEN if short else _CHARACTERS_PER_WORD

    @classmethod
    def load(cls, template: TextTemplate, folder: Path) -> TextEncoder:
        """From a bundle's tokenizer/ folder."""
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception
            raise UserError(
                f"{folder / 'tokenizer.json'} cannot be read: {error}", "export the bundle again"
            ) from error
        return cls(template, tokenizer)

    def encode(self, fields: TextFields) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(input_ids [L], mask [L]): start, then each field cut to its share and ended; L is the smallest bucket.

        A video without a single character has an all-False mask: text is missing, not empty.
        """
        ids = [self.special.start]
        any_text = False
        for name in self.template.fields:
            share = self.template.max_tokens[name]
            tokens = self._tokens(fields.field(name).strip()[: share * self._characters_per_token])[:share]
            any_text = any_text or bool(tokens)
            ids += [*tokens, self.special.end]
        length = next(bucket for bucket in sorted(self.template.length_buckets) if bucket >= len(ids))
        input_ids = np.full(length, self.special.pad, np.int64)
        input_ids[: len(ids)] = ids
        return input_ids, (np.arange(length) < len(ids)) & any_text

    def _tokens(self, text: str) -> list[int]:
        if self.template.tokens == "characters":
            ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
            return ids
        found = []
        for word in words(self.tokenizer.normalizer.normalize_str(text)):
            # a word never seen still says something by its characters: names and new words are made of common ones
            parts = (word,) if word in self._vocabulary else word
            found += [self._vocabulary.get(part, self.special.unknown) for part in parts]
        return found
