"""Published weights: our towers answer as transformers does, and what does not fit is a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
import transformers
from torch import Tensor, nn

from models.bundle import TextTemplate
from models.preprocess.text import TextEncoder, TextFields
from models.towers.checkpoint import read_pixels, read_wordpieces
from models.towers.pretrained import (
    image_weights,
    load_text,
    load_vision,
    text_config,
    video_config,
    vision_config,
)
from models.towers.text import TextTower
from models.towers.vision import CLIP_PIXELS, VisionConfig, VisionTower
from schemas.errors import ExitCode, UserError
from tests.support.checkpoints import PATCH, PIXELS, SIZE, save_bert, save_chinese_clip, save_clip, save_vit
from tests.support.single_thread import one_thread

__all__ = ["one_thread"]

CHARACTERS = "今天吃火锅去爬山猫abcdefghijklmnopqrstuvwxyz "


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("hub") / "bert", CHARACTERS)


@pytest.fixture(scope="module")
def chinese_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chinese_clip(tmp_path_factory.mktemp("hub") / "chinese-clip", CHARACTERS)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("hub") / "clip", CHARACTERS)


def vision_tower(source: Path, *, grid: int = 0) -> VisionTower:
    torch.manual_seed(5)
    tower = VisionTower(vision_config(str(source), size=SIZE, grid=grid), size=SIZE).eval()
    load_vision(tower, str(source))
    return tower


def text_tower(source: Path, *, length: int = 40, fields: int = 4) -> TextTower:
    torch.manual_seed(5)
    vocab, separator = len(transformers.BertTokenizer.from_pretrained(source).get_vocab()), 4
    config = text_config(str(source), length=length)
    tower = TextTower(config, vocab=vocab, separator=separator, fields=fields, length=length, dropout=0.1).eval()
    load_text(nn.ModuleDict({"somewhere": tower}), str(source))
    return tower


def ids_and_mask(vocab: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(0, vocab, (3, 30), generator=torch.Generator().manual_seed(3))
    ids[:, [7, 15, 20]] = 4  # separators, so that every field's embedding is asked for
    return ids, torch.arange(30) < torch.tensor([[30], [17], [1]])


@pytest.mark.parametrize("kind", ["CLIPVisionModel", "ChineseCLIPVisionModel"])
@torch.inference_mode()
def test_the_vision_tower_answers_as_published(kind: str, clip: Path, chinese_clip: Path) -> None:
    source = clip if kind == "CLIPVisionModel" else chinese_clip
    published = getattr(transformers, kind).from_pretrained(source).eval()
    pictures = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    answer = published(pictures)
    torch.testing.assert_close(vision_tower(source)(pictures), answer.pooler_output, atol=1e-5, rtol=0)
    assert answer.pooler_output.std() > 0.1  # random weights of the usual size would answer almost nothing

    side = SIZE // PATCH
    norm = getattr(published, "vision_model", published).post_layernorm
    patches = norm(answer.last_hidden_state[:, 1:]).flatten(1)
    torch.testing.assert_close(vision_tower(source, grid=side)(pictures), patches, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_text_tower_answers_as_bert_does(bert: Path) -> None:
    published = transformers.BertModel.from_pretrained(bert).eval()
    ids, mask = ids_and_mask(published.config.vocab_size)
    answer = published(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(text_tower(bert)(ids, mask)[mask], answer[mask], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_text_tower_answers_as_chinese_clip_does(chinese_clip: Path) -> None:
    published = transformers.ChineseCLIPModel.from_pretrained(chinese_clip).eval().text_model
    ids, mask = ids_and_mask(published.config.vocab_size)
    answer = published(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(text_tower(chinese_clip)(ids, mask)[mask], answer[mask], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_checkpoint_for_masked_words_gives_the_same_tower(tmp_path: Path) -> None:
    source = save_bert(tmp_path / "macbert", CHARACTERS, head=True)
    published = transformers.BertForMaskedLM.from_pretrained(source).eval().bert
    ids, mask = ids_and_mask(published.config.vocab_size)
    answer = published(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(text_tower(source)(ids, mask)[mask], answer[mask], atol=1e-5, rtol=0)


def test_a_published_vocabulary_encodes_fields(bert: Path) -> None:
    tokenizer = read_wordpieces(str(bert))
    template = TextTemplate(max_tokens={"title": 12, "ocr": 4, "asr": 4, "tags": 4}, length_buckets=(16, 32))
    encoder = TextEncoder(template, tokenizer)
    ids, mask = encoder.encode(TextFields(title="今天[SEP]龘", tags=("猫",)))
    words = [tokenizer.id_to_token(int(each)) for each in ids[mask]]
    assert words == ["[CLS]", "今", "天", *["[UNK]"] * 4, "[SEP]", "[SEP]", "[SEP]", "猫", "[SEP]"]
    with pytest.raises(UserError, match="word pieces, not words"):
        TextEncoder(template.model_copy(update={"tokens": "words"}), tokenizer)


def test_pixels_are_normalised_as_the_checkpoint_says(chinese_clip: Path, bert: Path) -> None:
    assert read_pixels(str(chinese_clip), CLIP_PIXELS) == PIXELS
    assert read_pixels(str(bert), CLIP_PIXELS) == CLIP_PIXELS


def test_what_does_not_fit_is_a_sentence(
    bert: Path, clip: Path, chinese_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="is a model of type bert, not a CLIP"):
        vision_config(str(bert), size=SIZE)
    with pytest.raises(UserError, match="is a model of type clip, not a BERT"):
        text_config(str(clip), length=8)
    with pytest.raises(UserError, match="sees pictures of 32 pixels; the frame plan gives 64"):
        vision_config(str(clip), size=64)
    with pytest.raises(UserError, match="at most 160 tokens; the text template allows 161"):
        text_config(str(chinese_clip), length=161)
    with pytest.raises(UserError, match="there is no folder"):
        vision_config(str(tmp_path / "nothing"), size=SIZE)
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        vision_config(str(tmp_path), size=SIZE)
    with pytest.raises(UserError, match="trained with hidden_act = gelu"):
        vision_config(str(save_chinese_clip(tmp_path / "gelu", CHARACTERS, hidden_act="gelu")), size=SIZE)
    with pytest.raises(UserError, match="no tower"):
        load_vision(nn.Linear(2, 2), str(clip))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the hub gave no model of that name") as unreachable:
        text_config("hfl/chinese-macbert-base", length=8)
    assert unreachable.value.code == ExitCode.UNREACHABLE
    assert "name its folder" in unreachable.value.remedy


def test_a_tower_of_other_sizes_is_a_sentence(bert: Path) -> None:
    config = text_config(str(bert), length=8)
    tower = TextTower(config, vocab=500, separator=4, fields=4, length=8, dropout=0.0)
    with pytest.raises(UserError, match=r"do not fit the tower: size mismatch for tokens\.weight"):
        load_text(tower, str(bert))


def test_weights_that_are_not_there_are_never_made_up(tmp_path: Path) -> None:
    source = save_bert(tmp_path / "bert", CHARACTERS)
    tower = text_tower(source)
    settings = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"lacks 16 weights, encoder\.layer\.2"):
        load_text(tower, str(source))
    (source / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        load_text(tower, str(source))
    for name in ("vocab.txt", "tokenizer.json"):
        (source / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match="has no vocabulary"):
        read_wordpieces(str(source))


@torch.inference_mode()
def test_an_image_vit_answers_as_published(tmp_path: Path) -> None:
    source = save_vit(tmp_path / "vit")
    published = transformers.ViTModel.from_pretrained(source).eval()
    config = VisionConfig(style="vit", width=32, layers=2, heads=4, hidden=128, patch=PATCH)
    tower = VisionTower(config, size=SIZE).eval()
    tower.load_state_dict(image_weights(published.state_dict()))
    frames = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    expected = published(frames).last_hidden_state[:, 0]
    assert (tower(frames) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("changes", [{"image_size": 64}, {"intermediate_size": 64}, {"hidden_act": "relu"}])
def test_an_image_vit_that_does_not_fit_is_a_sentence(tmp_path: Path, changes: dict[str, object]) -> None:
    source = save_vit(tmp_path / "vit", **changes)
    with pytest.raises(UserError, match=r"pixels|intermediate_size|hidden_act"):
        video_config(str(source), size=SIZE, tubelet=2)
