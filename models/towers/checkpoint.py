"""Published checkpoints through transformers, by folder or hub name; what is wrong with one is said in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from transformers.image_processing_base import ImageProcessingMixin
from transformers.utils import logging

from models.bundle import PixelNorm
from schemas.errors import ExitCode, UserError

_PICTURES = "preprocessor_config.json"
_SPECIAL_TOKENS_ALONE = 5  # what a tokenizer without a vocabulary file has


def read_config(source: str, kinds: Mapping[str, object], wanted: str) -> Any:
    """The configuration of a checkpoint whose model_type is one of `kinds`; `wanted` names them in messages."""
    with _sentences(source), _quiet():
        config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
    if config.model_type not in kinds:
        raise UserError(f"{source} is a model of type {config.model_type}, not {wanted}", f"name {wanted}")
    return config


def read_model(source: str, kind: str, part: str, **options: object) -> nn.Module:
    """The model with its weights in float32, by the name of its class. `part` begins the names of the weights that
    are used: the checkpoint must have every one of them, for transformers would make up what is missing."""
    with _sentences(source), _quiet():
        model, report = getattr(transformers, kind).from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, **options
        )
    missing = sorted(name for name in report["missing_keys"] if name.startswith(part) and "pooler" not in name)
    if missing:
        raise UserError(f"the checkpoint {source} lacks {len(missing)} weights, {missing[0]} among them", _COPY_AGAIN)
    found: nn.Module = model.eval()
    return found


def read_tokenizer(source: str, kind: str) -> Any:
    """A tokenizer of transformers, by the name of its class."""
    with _sentences(source), _quiet():
        found = getattr(transformers, kind).from_pretrained(source)
    if len(found.get_vocab()) <= _SPECIAL_TOKENS_ALONE:
        raise UserError(f"{source} has no vocabulary", "put its vocab.txt or tokenizer.json beside config.json")
    return found


def read_wordpieces(source: str) -> Tokenizer:
    """The WordPiece tokenizer of a BERT or a Chinese-CLIP, as what a bundle keeps."""
    found: Tokenizer = read_tokenizer(source, "BertTokenizer").backend_tokenizer
    return found


def read_pixels(source: str, otherwise: PixelNorm) -> PixelNorm:
    """What the checkpoint was trained to see pictures normalised with; `otherwise` where it does not say."""
    try:
        with _quiet():
            said, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except OSError as error:  # the file is optional
        if (Path(source) / _PICTURES).exists():
            raise UserError(f"{Path(source) / _PICTURES} cannot be read", _COPY_AGAIN) from error
        return otherwise
    return PixelNorm(
        mean=tuple(said.get("image_mean") or otherwise.mean), std=tuple(said.get("image_std") or otherwise.std)
    )


def check_same(source: str, config: Any, expected: Mapping[str, object]) -> None:
    """Raise UserError where a setting is not what our towers compute with."""
    for name, value in expected.items():
        found = getattr(config, name, value)
        if found != value:
            raise UserError(
                f"{source} was trained with {name} = {found}; this tower computes with {value}", "name another model"
            )


_COPY_AGAIN = "copy the model's folder again, whole"


@contextmanager
def _sentences(source: str) -> Iterator[None]:
    """Turn what transformers raises into UserError. Without a network, only folders can be read: that is no defect."""
    folder = Path(source)
    if (folder.is_absolute() or source.startswith(".") or source.count("/") > 1) and not folder.is_dir():
        raise UserError(f"there is no folder {source}", "name the folder of a checkpoint, or a model of the hub")
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if folder.is_dir():
            raise UserError(f"{source} cannot be read as a checkpoint: {why}", _COPY_AGAIN) from error
        raise UserError(
            f"there is no folder {source}, and the hub gave no model of that name: {why}",
            "download it where there is a network, and name its folder",
            ExitCode.UNREACHABLE,
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers reports every weight that is not used, and the hub's client every attempt; what matters we say."""
    loggers = (logging, hub_logging)
    before = [logger.get_verbosity() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        for logger, verbosity in zip(loggers, before, strict=True):
            logger.set_verbosity(verbosity)
        logging.enable_progress_bar()
