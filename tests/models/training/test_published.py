"""Training from published weights: sizes, pixels, tokenizer and weights are the checkpoint's, and only at the start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from models.architectures import build
from models.architectures.base import inputs_of
from models.media.types import FramePlan
from models.preprocess.text import with_tokens
from models.towers.pretrained import image_weights
from models.towers.text import TextTower
from models.training import published
from models.training.loop import Watcher
from models.training.recipe import Recipe, load_recipe
from models.training.run import Progresses, Run, train
from schemas.errors import UserError
from tests.support.checkpoints import PATCH, PIXELS, SIZE, save_bert, save_chinese_clip, save_vit

CHARACTERS = "今天吃火锅去爬山猫的一二三"
UNWATCHED = Progresses(
    decoding=lambda done, total: None, training=Watcher(lambda done, total: None, lambda epoch: None)
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    hub = tmp_path_factory.mktemp("hub")
    return load_recipe(
        "dual_concat",
        "tiny",
        frame_plan=FramePlan(count=3, size=SIZE),
        audio_plan=None,
        vision_weights=str(save_chinese_clip(hub / "clip", CHARACTERS)),
        text_weights=str(save_bert(hub / "bert", CHARACTERS)),
        epochs=1,
        batch=20,
    )


@pytest.fixture(scope="module")
def run(start: Recipe, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("published") / "run"
    recipe = start.model_copy(update={"learning_rate": 1e-12, "weight_decay": 0.0})
    return train(dataset, folder, recipe, seed=1, progresses=UNWATCHED)


def test_sizes_pixels_and_tokenizer_are_the_checkpoints(run: Run) -> None:
    config = run.manifest.architecture_config
    assert (config["vision"]["style"], config["vision"]["patch"]) == ("clip", PATCH)
    assert (config["text"]["style"], config["text"]["width"]) == ("bert", 32)
    assert run.manifest.recipe.pixels == PIXELS
    assert config["vocab"] == run.text.tokenizer.get_vocab_size() == len(CHARACTERS) + 6
    assert config["separator"] == run.text.special.end == 4


def test_training_begins_with_the_published_weights(run: Run) -> None:
    torch.manual_seed(9)
    expected = build("dual_concat", run.manifest.architecture_config)
    random = {name: weight.clone() for name, weight in expected.state_dict().items()}
    published.load(expected, run.manifest.recipe)
    trained = run.model().state_dict()
    loaded = [name for name, weight in expected.state_dict().items() if not torch.equal(weight, random[name])]
    assert {"vision.positions", "fusion.text.tokens.weight", "fusion.text.segments.weight"} <= set(loaded)
    for name in loaded:  # the learning rate was as good as nothing
        torch.testing.assert_close(trained[name], expected.state_dict()[name], atol=1e-6, rtol=0)


def test_a_training_that_goes_on_does_not_begin_again(
    run: Run, start: Recipe, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = start.model_copy(update={"learning_rate": 1e-12, "weight_decay": 0.0})
    monkeypatch.setattr(published, "load", lambda model, recipe: pytest.fail("loaded again"))
    again = train(dataset, run.folder, recipe, seed=1, progresses=UNWATCHED)
    assert again.manifest == run.manifest


def test_a_published_text_tower_is_not_read_by_words(start: Recipe) -> None:
    with pytest.raises(UserError, match="word pieces of its own vocabulary, not words"):
        published.resolve(start.model_copy(update={"text": with_tokens(start.text, "words")}))


def test_an_architecture_without_the_tower_says_so(start: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "sizes_of", lambda name: {"text": int})
    for given, missing in (({"text_weights": None}, "vision"), ({"vision_weights": None}, "text")):
        with pytest.raises(UserError, match=f"has no {missing} tower"):
            published.resolve(start.model_copy(update=given))


def test_a_recipe_without_published_weights_stays_as_it_is(start: Recipe) -> None:
    plain = start.model_copy(update={"vision_weights": None, "text_weights": None})
    assert published.resolve(plain) == (plain, None)


@pytest.mark.parametrize("architecture", ["vivit_1", "vivit_2", "vivit_3", "vivit_4", "frame_average"])
def test_a_video_encoder_begins_as_an_image_model(architecture: str, tmp_path: Path) -> None:
    source = save_vit(tmp_path / "vit")
    plan = FramePlan(count=4, size=SIZE, clip=4)
    recipe, _ = published.resolve(load_recipe(architecture, "tiny", frame_plan=plan, vision_weights=str(source)))
    config = recipe.options | inputs_of(recipe.inputs, parent=(0, 0), n_level1=1, vocab=9, separator=3)
    model = build(architecture, config)
    published.load(model, recipe)
    weights = image_weights(transformers.ViTModel.from_pretrained(source).state_dict())
    state = model.vision.state_dict()
    assert recipe.pixels == PIXELS
    assert config["video"]["tubelet"] == (1 if architecture == "frame_average" else 2)
    assert torch.equal(state["stack.blocks.1.mlp.0.weight"], weights["blocks.1.mlp.0.weight"])
    assert torch.equal(state["tubelets.projection.bias"], weights["stem.bias"])


def test_every_member_of_an_ensemble_begins_with_the_published_text_tower(start: Recipe) -> None:
    source = start.text_weights
    recipe, _ = published.resolve(load_recipe("ensemble", "tiny", text_weights=source))
    config = recipe.options | inputs_of(recipe.inputs, parent=(0, 0), n_level1=1, vocab=19, separator=4)
    model = build("ensemble", config)
    published.load(model, recipe)
    words = transformers.BertModel.from_pretrained(source).embeddings.word_embeddings.weight[:19]
    towers = [module for module in model.modules() if isinstance(module, TextTower)]
    assert len(towers) == 3
    assert all(torch.equal(tower.tokens.weight, words) for tower in towers)


def test_clips_do_not_begin_as_clip(start: Recipe) -> None:
    plan = FramePlan(count=4, size=SIZE, clip=4)
    with pytest.raises(UserError, match="not an image ViT"):
        published.resolve(load_recipe("vivit_2", "tiny", frame_plan=plan, vision_weights=start.vision_weights))
