"""The schema goes up and down on a real Postgres, is what the models say, and says what hinders it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy import NullPool, create_engine

from schemas import database
from schemas.errors import ExitCode, UserError
from schemas.tables import Table

pytestmark = pytest.mark.stack

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rows(dsn: str, query: str, **parameters: Any) -> list[dict[str, Any]]:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        return connection.execute(query, parameters or None).fetchall()


def objects(dsn: str) -> set[str]:
    """Tables, views, indexes, sequences and functions of the public schema."""
    found = rows(
        dsn,
        "SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    )
    return {row["name"] for row in found}


def test_up_down_and_up_again_leaves_nothing_and_misses_nothing(empty_dsn: str) -> None:
    assert database.current(empty_dsn) is None
    database.upgrade(empty_dsn)
    assert database.is_current(empty_dsn)
    first = objects(empty_dsn)
    assert Table.metadata.tables.keys() | {"labels", "labels_as_of"} <= first

    database.downgrade(empty_dsn, "base")
    assert database.current(empty_dsn) is None
    assert objects(empty_dsn) <= {database.VERSION_TABLE, f"{database.VERSION_TABLE}_pkc"}

    database.upgrade(empty_dsn)
    database.upgrade(empty_dsn)
    assert objects(empty_dsn) == first


def test_the_migrations_make_what_the_models_say(dsn: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "compare_server_default": True, "version_table": database.VERSION_TABLE},
        )
        assert compare_metadata(context, Table.metadata) == []


def test_checks_and_storage_are_those_of_the_models(dsn: str, empty_dsn: str) -> None:
    """Alembic compares neither, so a database made from the models themselves is the measure."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_dsn), poolclass=NullPool)
    Table.metadata.create_all(engine)
    checks = (
        "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND conrelid <> coalesce(to_regclass(%(version)s), 0) ORDER BY 1"
    )
    storage = (
        "SELECT relname, relpersistence,"
        " (SELECT array_agg(option ORDER BY option) FROM unnest(reloptions) AS option) AS options"
        " FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> %(version)s"
        " ORDER BY 1"
    )
    indexes = (
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> %(version)s ORDER BY 1"
    )
    for query in (checks, storage, indexes):
        version = database.VERSION_TABLE
        assert rows(dsn, query, version=version) == rows(empty_dsn, query, version=version) != []


def test_many_processes_may_upgrade_at_once(empty_dsn: str) -> None:
    start = threading.Barrier(4)

    def upgrade() -> None:
        start.wait()
        database.upgrade(empty_dsn)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(upgrade) for _ in range(4)]:
            done.result()
    assert database.is_current(empty_dsn)


def test_a_database_of_a_newer_version_is_left_alone(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"UPDATE {database.VERSION_TABLE} SET version_num = '9999'")
    before = objects(dsn)
    for change in (database.upgrade, lambda each: database.downgrade(each, "base")):
        with pytest.raises(UserError, match="9999") as caught:
            change(dsn)
        assert "newer version" in caught.value.remedy
    assert objects(dsn) == before
    assert not database.is_current(dsn)


def test_another_applications_tables_are_left_alone(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("CREATE TABLE videos (mine int)")
    with pytest.raises(UserError, match="another application's tables"):
        database.upgrade(empty_dsn)
    assert database.current(empty_dsn) is None
    assert rows(empty_dsn, "SELECT mine FROM videos") == []


def test_an_unknown_revision_is_explained(dsn: str) -> None:
    with pytest.raises(UserError, match="nonsense"):
        database.downgrade(dsn, "nonsense")
    assert database.is_current(dsn)


@pytest.mark.parametrize(
    ("dsn", "code"),
    [
        ("postgresql://someone:hunter2@127.0.0.1:1/none", ExitCode.UNREACHABLE),
        ("host=127.0.0.1 port=1 password=hunter2", ExitCode.UNREACHABLE),
        ("postgresql+psycopg://someone:hunter2@127.0.0.1:1/none", ExitCode.UNREACHABLE),
        ("hunter2 is no dsn", ExitCode.BAD_INPUT),
    ],
)
def test_a_dsn_that_does_not_work_is_explained_without_its_password(dsn: str, code: ExitCode) -> None:
    with pytest.raises(UserError) as caught:
        database.current(dsn)
    assert caught.value.code is code
    assert "hunter2" not in caught.value.message + caught.value.remedy


def test_sqlalchemys_form_of_a_dsn_works(dsn: str) -> None:
    assert database.is_current(dsn.replace("postgresql://", "postgresql+psycopg://"))


@pytest.fixture
def history(dsn: str) -> str:
    """Three videos: `moved` was reviewed, then labelled; `coarse` has level 1 alone; `gone` was removed at 14:00."""
    with psycopg.connect(dsn) as connection:
        for video in ("moved", "coarse", "gone"):
            connection.execute(
                "INSERT INTO videos (video_id, revision, author_id, media_uri, title, payload,"
                " published_at, removed_at) VALUES (%s, 0, 'a1', 'uri', '', '{}', %s, %s)",
                (video, NOON, NOON + 2 * HOUR if video == "gone" else None),
            )
        decide(connection, "moved", 1, NOON, "review")
        decide(connection, "moved", 2, NOON + HOUR, "accept", source="human")
        decide(connection, "moved", None, NOON + 2 * HOUR, "accept_level1")  # a shadow decision
        decide(connection, "coarse", 1, NOON, "accept_level1")
        decide(connection, "gone", 1, NOON, "accept")
    return dsn


def decide(
    connection: psycopg.Connection[Any],
    video: str,
    label_revision: int | None,
    at: datetime,
    route: str,
    source: str = "model",
) -> None:
    connection.execute(
        "INSERT INTO decisions (video_id, decision_id, revision, label_revision, trigger, source, model_id, encoder_id,"
        " policy_id, taxonomy_id, promotion_epoch, route, level1, level2, confidence, reasons, top_k, evidence,"
        " decided_at) VALUES (%(video)s, gen_random_uuid(), 0, %(label)s, 'review', %(source)s, 'm', 'e', 'p', 'tx', 1,"
        " %(route)s, 'food', 'food.baking', 0.75, '{}', %(json)s, %(json)s, %(at)s)",
        {"video": video, "label": label_revision, "source": source, "route": route, "at": at, "json": Jsonb({})},
    )


def as_of(dsn: str, moment: datetime) -> dict[str, tuple[Any, ...]]:
    found = rows(dsn, "SELECT * FROM labels_as_of(%(ts)s)", ts=moment)
    return {row["video_id"]: (row["label_revision"], row["status"], row["level1"], row["level2"]) for row in found}


def test_labels_as_of_shows_what_was_announced_then(history: str) -> None:
    accepted = ("labelled", "food", "food.baking")
    coarse = (1, "labelled_level1", "food", None)
    assert as_of(history, NOON - HOUR) == {}
    assert as_of(history, NOON) == {"moved": (1, "in_review", None, None), "coarse": coarse, "gone": (1, *accepted)}
    assert as_of(history, NOON + HOUR) == {"moved": (2, *accepted), "coarse": coarse, "gone": (1, *accepted)}
    withdrawn = (1, "withdrawn", None, None)
    assert as_of(history, NOON + 3 * HOUR) == {"moved": (2, *accepted), "coarse": coarse, "gone": withdrawn}


def test_the_view_and_its_past_have_the_same_columns(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        view = connection.execute("SELECT * FROM labels").description
        past = connection.execute("SELECT * FROM labels_as_of(now())").description
    assert view is not None
    assert past is not None
    assert [(each.name, each.type_code) for each in view] == [(each.name, each.type_code) for each in past]
    assert {each.name for each in view}.isdisjoint({"evidence", "human_level1", "promotion_epoch"})


def test_one_videos_past_is_found_without_reading_them_all(history: str) -> None:
    plan = rows(
        history,
        "EXPLAIN SELECT * FROM labels_as_of(now()) WHERE video_id = 'moved'",
    )
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "Function Scan" not in text
    assert text.count("'moved'") >= 2
