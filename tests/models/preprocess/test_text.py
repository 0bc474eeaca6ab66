"""Text to tokens: what a sequence looks like, what is cut, and that nothing a user writes can break it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import TextTemplate
from models.preprocess.text import SPECIAL_TOKENS, TextEncoder, TextFields, segmenter, train_tokenizer, with_tokens
from schemas.errors import UserError

TEMPLATE = TextTemplate(max_tokens={"title": 6, "ocr": 4, "asr": 4, "tags": 4}, length_buckets=(8, 16, 32))
TEXTS = ["今天吃火锅", "今天去爬山", "Cat 猫", "火锅火锅"]
PAD, UNKNOWN, START, END = range(4)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(TEMPLATE, train_tokenizer(TEXTS, min_count=1))


def words(encoder: TextEncoder, fields: TextFields) -> list[str]:
    ids, mask = encoder.encode(fields)
    return [str(encoder.tokenizer.id_to_token(int(token))) for token in ids[mask]]


def test_fields_come_in_order_each_ended_and_cut_to_its_share(encoder: TextEncoder) -> None:
    fields = TextFields(title="今天吃火锅去爬山", ocr=("火", "锅"), tags=("猫",))
    assert words(encoder, fields) == [
        "[CLS]", "今", "天", "吃", "火", "锅", "去", "[SEP]", "火", " ", "锅", "[SEP]", "[SEP]", "猫", "[SEP]",
    ]  # fmt: skip


def test_forms_of_the_same_character_are_one_token(encoder: TextEncoder) -> None:
    assert words(encoder, TextFields(title="ＣＡＴ")) == words(encoder, TextFields(title="  cat\n"))


def test_a_character_never_seen_is_unknown(encoder: TextEncoder) -> None:
    assert words(encoder, TextFields(title="今龘"))[1:3] == ["今", "[UNK]"]


def test_a_video_without_words_has_no_text_at_all(encoder: TextEncoder) -> None:
    ids, mask = encoder.encode(TextFields(title=" \n", ocr=("",)))
    assert not mask.any()
    assert len(ids) == 8


@given(title=st.text(max_size=40), ocr=st.lists(st.text(max_size=20), max_size=4), asr=st.text(max_size=40))
def test_any_text_fills_the_smallest_bucket_that_holds_it(
    encoder: TextEncoder, title: str, ocr: list[str], asr: str
) -> None:
    ids, mask = encoder.encode(TextFields(title=title, ocr=tuple(ocr), asr=asr))
    used = int(mask.sum()) or 5
    assert len(ids) == min(bucket for bucket in TEMPLATE.length_buckets if bucket >= used)
    assert (ids[~mask][used if not mask.any() else 0 :] == PAD).all()
    assert not np.diff(mask.astype(np.int8)).max(initial=0)  # what is there comes first
    assert ids.max() < encoder.tokenizer.get_vocab_size()


@given(st.text(max_size=200))
def test_words_cannot_forge_the_end_of_a_field(encoder: TextEncoder, title: str) -> None:
    for text in (title, f"[SEP]{title}", f"[CLS]{title}[PAD]"):
        ids, mask = encoder.encode(TextFields(title=text, tags=("猫",)))
        assert (ids[mask] == END).sum() == 4
        assert (ids[mask] == START).sum() == 1


def test_a_megabyte_is_cut_before_it_is_read(encoder: TextEncoder) -> None:
    start = words(encoder, TextFields(title="今" * 6))
    assert words(encoder, TextFields(title="今" * 1_000_000)) == start


def test_the_same_texts_make_the_same_tokenizer_in_any_order() -> None:
    one, other = train_tokenizer(TEXTS, min_count=1), train_tokenizer(TEXTS[::-1], min_count=1)
    assert one.to_str() == other.to_str()


def test_rare_characters_are_left_out_and_special_tokens_come_first() -> None:
    vocabulary = train_tokenizer(TEXTS, min_count=2).get_vocab()
    assert [vocabulary[token] for token in SPECIAL_TOKENS] == [0, 1, 2, 3]
    assert set(vocabulary) - set(SPECIAL_TOKENS) == {"今", "天", "火", "锅"}


def test_a_saved_tokenizer_encodes_alike(encoder: TextEncoder, tmp_path: Path) -> None:
    encoder.tokenizer.save(str(tmp_path / "tokenizer.json"))
    fields = TextFields(title="今天 Cat", asr="火锅")
    again = TextEncoder.load(TEMPLATE, tmp_path)
    for one, other in zip(encoder.encode(fields), again.encode(fields), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_does_not_fit_together_is_a_sentence(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, min_count=1)
    with pytest.raises(UserError, match="names the field subtitle"):
        TextEncoder(TextTemplate(fields=("subtitle",), max_tokens={"subtitle": 3}), tokenizer)
    with pytest.raises(UserError, match="allows 23 tokens"):
        TextEncoder(TEMPLATE.model_copy(update={"length_buckets": (8, 16)}), tokenizer)
    with pytest.raises(UserError, match="cannot be read"):
        TextEncoder.load(TEMPLATE, tmp_path)


# --- whole words ----------------------------------------------------------------------------------------------------

BY_WORDS = with_tokens(TEMPLATE, "words")
WORD_TEXTS = ["今天吃火锅", "火锅配 Python 编程", "关于编程的视频", "今天的视频"]


@pytest.fixture(scope="module")
def reader() -> TextEncoder:
    return TextEncoder(BY_WORDS, train_tokenizer(WORD_TEXTS, min_count=1, tokens="words"))


def test_words_are_looked_up_whole(reader: TextEncoder) -> None:
    fields = TextFields(title="今天 吃火锅", tags=("PYTHON", "编程"))
    assert words(reader, fields) == [
        "[CLS]", "今天", "吃火锅", "[SEP]", "[SEP]", "[SEP]", "python", "编程", "[SEP]",
    ]  # fmt: skip


def test_a_word_never_seen_falls_back_to_its_characters(reader: TextEncoder) -> None:
    assert reader.tokenizer.token_to_id("天火") is None
    assert words(reader, TextFields(title="视频频道"))[1:-4] == ["视频", "频", "[UNK]"]


def test_rare_words_are_left_out() -> None:
    known = set(train_tokenizer(WORD_TEXTS, min_count=2, tokens="words").get_vocab()) - set(SPECIAL_TOKENS)
    assert {"今天", "编程", "视频", "的", "火", "锅"} <= known
    assert not known & {"python", "关于", "吃火锅", "吃", " "}


TEXT = st.text(alphabet="今天吃火锅编程的视频关于一龘Pythonab 1,。", max_size=30)


@given(
    parts=st.lists(TEXT, max_size=4), spaces=st.lists(st.sampled_from([" ", "  ", "\t", "\n ", "\u3000"]), min_size=5)
)
def test_white_space_and_case_do_not_change_words(reader: TextEncoder, parts: list[str], spaces: list[str]) -> None:
    plain = reader.encode(TextFields(title=" ".join(parts)))
    again = reader.encode(TextFields(title=" ".join(parts)))
    title = spaces[0] + "".join(part + space for part, space in zip(parts, spaces[1:], strict=False))
    other = reader.encode(TextFields(title=title.swapcase()))
    for one, same, varied in zip(plain, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        np.testing.assert_array_equal(one, varied)


@given(title=st.text(max_size=80), asr=st.text(max_size=40), tags=st.lists(st.text(max_size=20), max_size=3))
def test_words_never_exceed_a_fields_share(reader: TextEncoder, title: str, asr: str, tags: list[str]) -> None:
    ids, mask = reader.encode(TextFields(title=f"[SEP]{title}", asr=asr, tags=tuple(tags)))
    used = ids[mask]
    ends = np.flatnonzero(used == END)
    shares = [BY_WORDS.max_tokens[name] for name in BY_WORDS.fields]
    assert len(ends) == len(shares)
    assert (np.diff(ends, prepend=0) - 1 <= shares).all()
    assert used[0] == START
    assert (used == START).sum() == 1
    assert ids.max() < reader.tokenizer.get_vocab_size()


def test_a_template_written_before_there_were_words_still_loads() -> None:
    written = TEMPLATE.model_dump(exclude={"tokens"})
    assert "tokens" not in written
    assert TextTemplate.model_validate(written) == TEMPLATE


def test_the_segmenter_is_part_of_a_template_of_words_alone() -> None:
    assert BY_WORDS.model_dump()["segmenter"] == segmenter() == f"rjieba {version('rjieba')}"
    assert "segmenter" not in TEMPLATE.model_dump()
    assert with_tokens(BY_WORDS, "characters") == TEMPLATE


@pytest.mark.parametrize(("other", "said"), [("rjieba 0.1.0", "rjieba 0.1.0"), (None, "a segmenter that is not named")])
def test_words_cut_by_another_segmenter_are_refused(other: str | None, said: str) -> None:
    """Token ids would not be those that the model learnt, under an id that says they are."""
    tokenizer = train_tokenizer(WORD_TEXTS, min_count=1, tokens="words")
    with pytest.raises(UserError, match=f"cut by {said}; {segmenter()} is installed"):
        TextEncoder(BY_WORDS.model_copy(update={"segmenter": other}), tokenizer)
