"""Drawn items keep to the design: noise rates, splits, authors, and words that fit."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from fontTools.ttLib import TTFont

from models.synthetic.ceilings import ceilings
from models.synthetic.design import BY_ID, CLASSES, LEVEL1, Noise, class_prior
from models.synthetic.font import SUBSET
from models.synthetic.language import FieldState, all_characters, burnable_characters, phrases
from models.synthetic.picture import draw_frames
from models.synthetic.sampling import Item, draw_item
from schemas.taxonomy import default_taxonomy

NOISE = Noise()


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return [draw_item(5, "train", index, NOISE) for index in range(3000)]


def share_is(hits: int, total: int, rate: float) -> None:
    """Within five standard deviations of a binomial: fails by chance once in a million."""
    assert abs(hits / total - rate) < 5 * np.sqrt(rate * (1 - rate) / total)


def test_every_class_is_a_category_of_the_default_taxonomy_and_each_code_word_serves_one_class() -> None:
    assert len(CLASSES) >= 48
    taxonomy = default_taxonomy()
    assert {design.id for design in CLASSES} <= taxonomy.level2_index.keys()
    words = {(design.topic, design.shape, design.direction, design.tone) for design in CLASSES}
    assert len(words) == len(CLASSES)


def test_siblings_share_their_topic_across_level1() -> None:
    for topic in {design.topic for design in CLASSES}:
        assert len({design.level1 for design in CLASSES if design.topic == topic}) == 2


def test_an_item_depends_on_seed_split_and_index_alone() -> None:
    assert draw_item(3, "test", 7, NOISE) == draw_item(3, "test", 7, NOISE)
    different = {draw_item(seed, split, 7, NOISE).title for seed in range(4) for split in ("test", "train")}
    assert len(different) > 4


def test_noise_rates_are_what_the_design_says(items: list[Item]) -> None:
    share_is(sum(item.label != item.truth for item in items), len(items), NOISE.label)
    share_is(sum(item.factors["no_audio"] for item in items), len(items), NOISE.no_audio)
    share_is(sum(item.factors["seen_shape"] is None for item in items), len(items), NOISE.shape_hidden)
    titled = [item for item in items if not item.factors["no_text"]]
    silent = sum(item.factors["title"]["state"] == FieldState.SILENT for item in titled)
    share_is(silent, len(titled), NOISE.title.silent)
    heard = [item for item in items if not item.factors["no_audio"]]
    noisy = (FieldState.GARBLED, FieldState.MISSING, FieldState.OFF_TOPIC)
    share_is(sum(item.factors["asr"]["state"] in noisy for item in heard), len(heard), NOISE.asr.noisy)


def test_labels_are_wrong_in_training_alone() -> None:
    held_out = [draw_item(5, split, index, NOISE) for split in ("test", "calibration") for index in range(200)]
    assert all(item.label == item.truth for item in held_out)
    assert all(draw_item(5, "unlabelled", index, NOISE).label is None for index in range(50))


def test_classes_are_long_tailed_as_the_prior_says(items: list[Item]) -> None:
    counts = Counter(item.truth for item in items)
    expected = class_prior()
    assert expected.max() > 5 * expected.min()
    for index in (int(expected.argmax()), int(expected.argmin())):
        share_is(counts[CLASSES[index].id], len(items), float(expected[index]))


def test_authors_keep_to_a_few_verticals(items: list[Item]) -> None:
    by_author: dict[str, Counter[str]] = {}
    for item in items:
        by_author.setdefault(item.author_id, Counter())[BY_ID[item.truth].level1] += 1
    busy = [counts for counts in by_author.values() if counts.total() >= 20]
    main_share = np.mean([counts.most_common(1)[0][1] / counts.total() for counts in busy])
    assert main_share > 3 / len(LEVEL1)


def test_held_out_items_come_after_training_so_their_authors_have_a_past(items: list[Item]) -> None:
    tests = [draw_item(5, "test", index, NOISE) for index in range(200)]
    assert max(item.published_at for item in items) < min(item.published_at for item in tests)
    authors = {item.author_id for item in items}
    assert np.mean([item.author_id in authors for item in tests]) > 0.9


def test_a_field_says_what_its_state_says(items: list[Item]) -> None:
    """No word of the topic in a garbled, missing or off-topic title; so the ceilings may count those as they do."""
    for item in items:
        state, own = item.factors["title"]["state"], phrases().topics[item.factors["topic"]]
        names_subject = any(subject in item.title for subject in own.subjects)
        assert names_subject == (state in (FieldState.TOPIC, FieldState.CLASS)), item.title
        assert (item.title == "") == (state == FieldState.MISSING)


def test_subjects_belong_to_one_topic() -> None:
    owners = Counter(subject for topic in phrases().topics.values() for subject in topic.subjects)
    assert max(owners.values()) == 1


def test_every_character_has_a_glyph() -> None:
    glyphs = TTFont(SUBSET).getBestCmap()
    assert burnable_characters() <= all_characters()
    assert {c for c in all_characters() if ord(c) not in glyphs and not c.isspace()} == set()


def test_a_clip_that_moves_left_is_one_that_moves_right_played_backwards() -> None:
    shown = [item for index in range(60) if (item := draw_item(1, "test", index, NOISE)).scene.direction is not None]
    right = next(item.scene for item in shown if item.factors["seen_direction"] == "right")
    left = next(item.scene.direction for item in shown if item.factors["seen_direction"] == "left")
    mirrored = replace(right, direction=left, caption="")
    np.testing.assert_array_equal(draw_frames(mirrored), draw_frames(replace(right, caption=""))[::-1])


def test_no_modality_can_be_spared(items: list[Item]) -> None:
    found = ceilings(items[:1500], NOISE)
    for missing in ("text", "frames", "order", "audio"):
        assert found[f"all but {missing}"] <= found["all"] - 0.1
    for alone in ("text", "frames in order", "audio"):
        assert found[alone] < 0.6


def test_an_ambiguous_item_shows_its_topic_alone() -> None:
    noise = replace(NOISE, ambiguous=0.5)
    drawn = [draw_item(5, "train", index, noise) for index in range(1000)]
    ambiguous = [item for item in drawn if item.factors["ambiguous"]]
    share_is(len(ambiguous), len(drawn), 0.5)
    for item in ambiguous:
        scene = item.scene
        assert scene.shape is scene.direction is scene.tone is None
        assert all(item.factors[name]["state"] != FieldState.CLASS for name in noise.fields)
        assert phrases().class_names[item.truth] not in (scene.caption, *item.ocr)


def test_how_many_items_are_ambiguous_moves_none_of_the_others(items: list[Item]) -> None:
    """So a dataset of before is the same today, and two shares can be compared item by item."""
    noise = replace(NOISE, ambiguous=0.3)
    for index, plain in enumerate(items[:300]):
        item = draw_item(5, "train", index, noise)
        assert "ambiguous" not in plain.factors
        assert (item.truth, item.author_id, item.label) == (plain.truth, plain.author_id, plain.label)
        if not item.factors["ambiguous"]:
            assert replace(item, factors=plain.factors) == plain


def test_without_noise_the_oracle_is_always_right() -> None:
    clean = Noise(
        **{name: replace(field, noisy=1e-12, silent=0.0) for name, field in NOISE.fields.items()},
        label=0.0, no_audio=0.0, no_text=0.0, shape_hidden=0.0, direction_hidden=0.0, tone_hidden=0.0,
    )  # fmt: skip
    assert ceilings([draw_item(2, "test", index, clean) for index in range(200)], clean)["all"] == 1.0
