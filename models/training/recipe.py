"""A recipe: everything that decides what is trained, but the data and the seed. It begins as a preset."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from models.architectures import TRAIN, made_by, preset_of
from models.architectures.base import InputPlan
from models.bundle import PixelNorm, TextTemplate, Tokens
from models.media.types import AudioPlan, FramePlan
from models.preprocess.text import with_tokens
from schemas.errors import UserError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


class Recipe(BaseModel):
    """What the model sees, how large it is, and how it learns.

    options are the sizes in the architecture's Config; those that follow from data and plans are filled in by the run.
    vision_weights, text_weights: published checkpoints that the towers begin with: a local folder or a hub name; sizes,
    pixel normalisation and tokenizer are then theirs.
    min_character_count: how often a character, or a word where the text is read by words, is in the training split at
    least to have a token of its own.
    balance: a class of n items is drawn with a weight of n^(1 - balance); 0 is as the data are, 1 is every class alike.
    modality_dropout, token_dropout: shares of modalities and of characters that a training item goes without.
    shift: training clips are moved by up to this many pixels, all frames of a clip alike.
    momentum_distillation: this share of every target comes from a moving average of the model; 0 keeps none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)
    frame_plan: FramePlan
    audio_plan: AudioPlan | None
    pixels: PixelNorm = PixelNorm()
    text: TextTemplate = TextTemplate()
    min_character_count: Count = 2
    vision_weights: str | None = None
    text_weights: str | None = None

    epochs: Count = 12
    batch: Count = 64
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.05
    warm_up: Share = 0.06  # of all steps
    label_smoothing: Share = 0.1
    level1_weight: Annotated[float, Field(ge=0.0)] = 0.3  # of the level-1 loss beside that of level 2
    balance: Share = 0.5
    modality_dropout: Share = 0.1
    token_dropout: Share = 0.1
    shift: Annotated[int, Field(ge=0)] = 4
    momentum_distillation: Share = 0.0
    momentum: Share = 0.995  # what a step keeps of the moving average

    @property
    def inputs(self) -> InputPlan:
        """What the model sees."""
        return InputPlan(frame_plan=self.frame_plan, audio_plan=self.audio_plan, pixels=self.pixels, text=self.text)


def load_recipe(architecture: str, preset: str, *, tokens: Tokens | None = None, **changes: object) -> Recipe:
    """A preset of an architecture with some values changed. tokens: what its text is read by, instead of the preset's.

    Raises UserError where there is no such preset, it is not one to be trained, or a value is out of its range.
    """
    if (command := made_by(architecture)) != TRAIN:
        raise UserError(f"{architecture} learns nothing by training", f"make its bundle with `{command}`")
    chosen = preset_of(architecture, preset)
    sizes = RootModel[dict[str, Any]](dict(chosen.sizes)).model_dump(mode="json")
    plan = {field.name: getattr(chosen.inputs, field.name) for field in fields(chosen.inputs)}
    if tokens:
        plan["text"] = with_tokens(chosen.inputs.text, tokens)
    try:
        return Recipe(architecture=architecture, **{"options": sizes, **plan, **chosen.training, **changes})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"the recipe's {where} is wrong: {first['msg']}", "change the option or the preset") from error
