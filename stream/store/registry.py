"""The models this database has seen, and the promotion a worker decides under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from models.bundle import Bundle, default_bundle
from schemas.errors import UserError
from schemas.taxonomy import Taxonomy
from stream.classify.stub import stub_model, stub_taxonomy
from stream.settings import Settings
from stream.store.work import LiveModel

_REGISTER = """
INSERT INTO models (model_id, encoder_id, policy_id, taxonomy_id, name, manifest) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (model_id) DO NOTHING
"""
# Two workers that start a new bundle at once must not promote it twice.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('reelsort promotions', 0))"
_EPOCH = "SELECT max(epoch) FROM promotions WHERE model_id = %s"
_PROMOTE = """
INSERT INTO promotions (model_id, kind, actor, reason) VALUES (%s, 'promote', 'classify', 'first start of this bundle')
RETURNING epoch
"""


def of_bundle(bundle: Bundle) -> LiveModel:
    """The bundle as the store sees it; not promoted yet (epoch 0)."""
    return LiveModel(
        name=bundle.manifest.name,
        model_id=bundle.model_id,
        encoder_id=bundle.encoder_id,
        policy_id=bundle.policy_id,
        taxonomy_id=bundle.taxonomy.id,
        level1=tuple(category.id for category in bundle.taxonomy.level1),
        level2=tuple(category.id for category in bundle.taxonomy.level2),
        harm=tuple(category.harm for category in bundle.taxonomy.level2),
        policy=bundle.policy,
        epoch=0,
    )


def enter(connection: psycopg.Connection[Any], model: LiveModel, manifest: Mapping[str, Any]) -> LiveModel:
    """Register the model and return it with the epoch it decides under: that of its newest promotion.

    A bundle that was never promoted here is, by being started: naming it in the settings is the operator's act.
    """
    with connection.transaction():
        connection.execute(_LOCK)
        connection.execute(
            _REGISTER,
            [model.model_id, model.encoder_id, model.policy_id, model.taxonomy_id, model.name, Jsonb(dict(manifest))],
        )
        epoch = _scalar(connection, _EPOCH, model.model_id)
        if epoch is None:
            epoch = _scalar(connection, _PROMOTE, model.model_id)
    assert epoch is not None
    return replace(model, epoch=epoch)


class AtHand(NamedTuple):
    """A model that the settings name; nothing says that it ever decided here, and its epoch is 0."""

    model: LiveModel
    taxonomy: Taxonomy
    manifest: Mapping[str, Any]


def at_hand(settings: Settings) -> AtHand:
    """What a worker with these settings would decide with. Raises UserError where the bundle cannot be read."""
    if settings.classify.stub:
        return AtHand(stub_model(), stub_taxonomy(), {"stub": True})
    bundle = Bundle.load(settings.inference.bundle or default_bundle())
    return AtHand(of_bundle(bundle), bundle.taxonomy, bundle.manifest.model_dump(mode="json"))


def require_entered(connection: psycopg.Connection[Any], model: LiveModel) -> None:
    """Raises UserError where no worker of this database ever ran the model."""
    if connection.execute("SELECT FROM models WHERE model_id = %s", [model.model_id]).fetchone() is None:
        raise UserError(
            f"the model at hand, {model.name} ({model.model_id}), never decided anything in this database",
            "name the bundle that did (REELSORT_INFERENCE__BUNDLE)",
        )


def _scalar(connection: psycopg.Connection[Any], statement: str, model_id: str) -> int | None:
    row = connection.execute(statement, [model_id]).fetchone()
    return None if row is None else row[0]
