"""`pip install .` alone, with no extras, brings no torch and classifies a real file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.support.clips import write_clip

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the locked base dependencies and a wheel-like install of this tree."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    uv = shutil.which("uv") or str(ROOT / ".make/uv/bin/uv")
    python = folder / "bin" / "python"
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(python), "-c", str(ROOT / "requirements.lock"), str(ROOT)],
    ):
        subprocess.run(command, check=True)
    return folder


def test_the_base_install_has_no_torch(base_environment: Path) -> None:
    code = "import importlib.util as u; print([m for m in ('torch', 'transformers', 'onnx') if u.find_spec(m)])"
    found = subprocess.run(
        [base_environment / "bin" / "python", "-c", code], check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == "[]"


def test_the_base_install_classifies_a_file_with_the_bundle_it_ships(base_environment: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=2)
    answer = subprocess.run(
        [
            base_environment / "bin" / "reelsort",
            "classify",
            str(clip),
            "--title",
            "十分钟学会番茄炒蛋",
            "--format",
            "json",
        ],
        cwd=tmp_path,  # away from the checkout: the installed packages answer
        env={name: value for name, value in os.environ.items() if not name.startswith(("REELSORT_", "PYTHON"))},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    (video,) = orjson.loads(answer.stdout)["files"]
    assert video["route"] in ("accept", "accept_level1", "review")
    assert video["top_k"]
