"""What is generated is what the code says, and today's events keep the last release's promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas import generate
from schemas.errors import ExitCode, UserError
from schemas.topics import EVENT_TYPES, TOPICS
from stream.cli import main


def test_the_committed_schemas_are_those_of_the_code() -> None:
    assert generate.drifted() == []


def test_no_promise_of_the_last_release_is_broken() -> None:
    assert generate.breaks_since_release() == []


def test_drift_is_found_and_mended(tmp_path: Path) -> None:
    assert len(generate.write_generated(tmp_path)) == len(EVENT_TYPES) + 1
    changed = tmp_path / "jsonschema" / "reelsort.video.removed.v1.json"
    changed.write_text("{}")
    (tmp_path / "jsonschema" / "reelsort.gone.v1.json").write_text("{}")
    (tmp_path / "asyncapi.json").unlink()
    drift = ["asyncapi.json", "jsonschema/reelsort.gone.v1.json", "jsonschema/reelsort.video.removed.v1.json"]
    assert generate.drifted(tmp_path) == drift
    assert generate.write_generated(tmp_path) == drift
    assert generate.drifted(tmp_path) == []


def test_a_break_since_the_release_is_found(tmp_path: Path) -> None:
    generate.write_release(tmp_path)
    released = tmp_path / "reelsort.video.published.v1.json"
    document = json.loads(released.read_text())
    document["properties"]["cover_uri"] = {"type": "string"}
    released.write_text(json.dumps(document))
    assert [each.path for each in generate.breaks_since_release(tmp_path)] == ["reelsort.video.published.v1.cover_uri"]


def test_a_folder_without_a_release_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no released schemas"):
        generate.breaks_since_release(tmp_path)


def test_asyncapi_refers_only_to_what_is_there() -> None:
    document = generate.asyncapi()
    assert document["channels"].keys() == TOPICS.keys()
    files = generate.generated_files()

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            inner = [found for value in node.values() for found in references(value)]
            return [node["$ref"], *inner] if "$ref" in node else inner
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    for reference in references(document):
        if not reference.startswith("#/"):
            assert reference in files
            continue
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


@pytest.mark.parametrize("arguments", [["generate", "--check"], ["compat"]])
def test_the_checks_pass_on_the_command_line(arguments: list[str]) -> None:
    assert main.run(["schemas", *arguments]) == ExitCode.OK


def test_the_checks_fail_with_their_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "drifted", lambda: ["asyncapi.json"])
    assert main.run(["schemas", "generate", "--check"]) == ExitCode.CHECK_FAILED
    assert "asyncapi.json" in capsys.readouterr().err
