"""`reelsort bench infer` measures what it says; how fast anything is, no test asserts."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.bundle import Bundle
from models.runtimes.registry import runtimes
from stream.bench.infer import BASELINE, run
from stream.cli.main import build_app


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_every_runtime_is_measured_against_torch_in_the_same_turns(tiny: Path) -> None:
    turns: list[None] = []
    result = run(Bundle.load(tiny), videos=3, repeats=2, batch=2, threads=1, on_turn=lambda: turns.append(None))
    names = [entry["name"] for entry in result["contenders"]]
    offered = [f"{spec.name}-{precision}" for spec in runtimes().values() for precision in spec.precisions()]
    for name in offered:
        assert f"{name}, 1 at a time" in names
        assert f"{name}, 2 a batch" in names
    assert names[0] == BASELINE
    assert names[-1].startswith("reelsort: ")
    assert len(turns) == 3  # one to warm up
    for entry in result["contenders"]:
        ratio = entry["ratio_to_torch"]
        assert 0 < ratio["least"] <= ratio["median"] <= ratio["most"]
        assert entry["deviation"] < 0.01
    assert result["contenders"][0]["ratio_to_torch"] == {"median": 1.0, "least": 1.0, "most": 1.0}


def test_the_command_is_found_by_scanning() -> None:
    (bench,) = [group for group in build_app().registered_groups if group.name == "bench"]
    assert bench.typer_instance is not None
    assert "infer" in [command.name for command in bench.typer_instance.registered_commands]
