"""signals.jsonl is read whole, or the line that is wrong is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from models.training.signals_file import read_signals
from schemas.errors import UserError
from schemas.manifest import SIGNALS


def snapshot(plays: int, video: str = "v1") -> dict[str, Any]:
    return {"video_id": video, "seq": plays, "plays": plays, "window_end": "2026-01-01T00:00:00Z"}


def write(folder: Path, *lines: dict[str, Any] | bytes) -> Path:
    written = (line if isinstance(line, bytes) else orjson.dumps(line) for line in lines)
    (folder / SIGNALS).write_bytes(b"\n".join(written))
    return folder


def test_rows_are_found_by_video_and_revision(tmp_path: Path) -> None:
    second = {"video_id": "v1", "revision": 2}
    found = read_signals(write(tmp_path, {"video_id": "v1", "snapshots": [snapshot(3), snapshot(9)]}, b"", second))
    assert list(found) == [("v1", 0), ("v1", 2)]
    assert [each.plays for each in found["v1", 0].snapshots] == [3, 9]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"{", "line 2: Invalid JSON"),
        ({"snapshots": []}, "line 2: video_id: Field required"),
        ({"video_id": "v1"}, "line 2: v1, revision 0, was there before"),
        ({"video_id": "v2", "snapshots": [snapshot(3)]}, "line 2: a snapshot is of v1, revision 0, not of v2"),
        (
            {"video_id": "v2", "snapshots": [snapshot(9, "v2"), snapshot(9, "v2")]},
            "line 2: a snapshot counts no more plays",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: dict[str, Any] | bytes, what: str) -> None:
    with pytest.raises(UserError, match=what):
        read_signals(write(tmp_path, {"video_id": "v1"}, line))


def test_a_dataset_without_signals_is_told_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read") as raised:
        read_signals(tmp_path)
    assert "reelsort data make" in raised.value.remedy
