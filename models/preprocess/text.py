"""Title, OCR, ASR and tags -> one token sequence, through a character-level tokenizer.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from models.bundle import TextTemplate
from schemas.errors import UserError

PAD, UNKNOWN, START, END_OF_FIELD = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL_TOKENS = (PAD, UNKNOWN, START, END_OF_FIELD)

# A field is cut to this many characters a token before it is normalised, so that a megabyte of text costs nothing;
# NFKC never joins more than four characters into one.
_CHARACTERS_PER_TOKEN = 4


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


def train_tokenizer(texts: Iterable[str], *, min_count: int) -> Tokenizer:
    """A tokenizer that knows every character seen at least `min_count` times. The same texts give the same ids."""
    counting = empty_tokenizer({UNKNOWN: 0})
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update(counting.normalizer.normalize_str(text))
    kept = sorted((c for c, count in seen.items() if count >= min_count), key=lambda c: (-seen[c], c))
    return empty_tokenizer({token: index for index, token in enumerate([*SPECIAL_TOKENS, *kept])})


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
        self.template = template
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._start, self._end, self.pad = vocabulary[START], vocabulary[END_OF_FIELD], vocabulary[PAD]

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
        ids = [self._start]
        any_text = False
        for name in self.template.fields:
            share = self.template.max_tokens[name]
            text = fields.field(name).strip()[: share * _CHARACTERS_PER_TOKEN]
            tokens = self.tokenizer.encode(text, add_special_tokens=False).ids[:share]
            any_text = any_text or bool(tokens)
            ids += [*tokens, self._end]
        length = next(bucket for bucket in sorted(self.template.length_buckets) if bucket >= len(ids))
        input_ids = np.full(length, self.pad, np.int64)
        input_ids[: len(ids)] = ids
        return input_ids, (np.arange(length) < len(ids)) & any_text
