"""A newcomer adds an architecture by one file: the one in docs/models.md, put into a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAME = "mean_of_means"

# what putting the file into models/architectures would do
PLUGIN = """
import models.architectures
models.architectures.__path__.append({folder!r})
"""


def test_the_file_in_the_documents_is_all_it_takes(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/models.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "added").mkdir()
    (tmp_path / "added" / f"{NAME}.py").write_text(source, encoding="utf-8")
    (tmp_path / "newcomer.py").write_text(PLUGIN.format(folder=str(tmp_path / "added")), encoding="utf-8")
    suite = [f"tests/models/architectures/{file}.py" for file in ("test_contract", "test_graphs")]
    options = ["-q", "-k", NAME, "-p", "newcomer", "-o", f"cache_dir={tmp_path / 'cache'}"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *suite, *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed
    assert int(passed[1]) >= 20
    assert "skipped" not in ran.stdout
