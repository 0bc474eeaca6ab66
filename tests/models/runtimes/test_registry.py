from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import models.runtimes
from models.runtimes.registry import runtimes


@pytest.fixture(autouse=True)
def scanned_anew() -> Iterator[None]:
    runtimes.cache_clear()
    yield
    runtimes.cache_clear()


def test_one_file_adds_a_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "abacus.py").write_text(
        "from models.runtimes.registry import RuntimeSpec\n"
        "SPEC = RuntimeSpec('abacus', lambda: ('fp32',), load=None, version=lambda: '1')\n"
    )
    monkeypatch.setattr(models.runtimes, "__path__", [*models.runtimes.__path__, str(tmp_path)])
    assert runtimes()["abacus"].precisions() == ("fp32",)


def test_a_runtime_whose_library_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "models.runtimes.openvino", raising=False)
    assert "openvino" not in runtimes()
    assert "onnxruntime" in runtimes()


def test_a_defect_in_a_runtime_is_not_mistaken_for_a_missing_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("import models.no_such_module\n")
    monkeypatch.setattr(models.runtimes, "__path__", [*models.runtimes.__path__, str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        runtimes()


def test_only_the_oracle_does_not_serve() -> None:
    assert [spec.name for spec in runtimes().values() if not spec.serves] == ["torch"]
