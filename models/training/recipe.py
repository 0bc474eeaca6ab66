"""A recipe: everything that decides what is trained, but the data and the seed. Presets are JSON files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.bundle import PixelNorm, TextTemplate
from models.media.types import AudioPlan, FramePlan
from schemas.errors import UserError

PRESETS = Path(__file__).parent / "presets"

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


class Recipe(BaseModel):
    """What the model sees, how large it is, and how it learns.

    options are the sizes in the architecture's Config; those that follow from data and plans are filled in by the run.
    balance: a class of n items is drawn with a weight of n^(1 - balance); 0 is as the data are, 1 is every class alike.
    modality_dropout, token_dropout: shares of modalities and of characters that a training item goes without.
    shift: training clips are moved by up to this many pixels, all frames of a clip alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)
    frame_plan: FramePlan
    audio_plan: AudioPlan
    pixels: PixelNorm = PixelNorm()
    text: TextTemplate = TextTemplate()
    min_character_count: Count = 2

    epochs: Count
    batch: Count
    learning_rate: Annotated[float, Field(gt=0.0)]
    weight_decay: Annotated[float, Field(ge=0.0)]
    warm_up: Share  # of all steps
    label_smoothing: Share
    level1_weight: Annotated[float, Field(ge=0.0)]  # of the level-1 loss beside that of level 2
    balance: Share
    modality_dropout: Share
    token_dropout: Share
    shift: Annotated[int, Field(ge=0)]


def presets() -> tuple[str, ...]:
    """Every preset, as '<architecture>_<preset>'."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.json")))


def load_recipe(architecture: str, preset: str, **changes: object) -> Recipe:
    """A preset of an architecture with some values changed.

    Raises UserError where there is no such preset or a value is out of its range.
    """
    path = PRESETS / f"{architecture}_{preset}.json"
    if not path.is_file():
        raise UserError(f"{architecture} has no preset {preset}", f"choose one of: {', '.join(presets())}")
    try:
        recipe = Recipe.model_validate_json(path.read_bytes())
        return Recipe.model_validate(recipe.model_dump() | changes)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"the recipe's {where} is wrong: {first['msg']}", "change the option or the preset") from error
