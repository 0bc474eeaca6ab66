"""signals.jsonl, beside a manifest: what training reads of authors and engagement."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from pydantic import ValidationError

from schemas.errors import UserError
from schemas.manifest import SIGNALS, SignalsRow


def read_signals(data: Path) -> dict[tuple[str, int], SignalsRow]:
    """Every line of a dataset's signals, by (video_id, revision); a video may be missing.

    Raises UserError where the dataset has no such file, or, naming the line, where one is not what it should be.
    """
    path = data / SIGNALS
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}",
            "`reelsort data make` with the dataset's own options adds it, or write one (docs/ml-engineer.md)",
        ) from error
    found: dict[tuple[str, int], SignalsRow] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = SignalsRow.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise _bad_line(path, number, f"{where}: {first['msg']}" if where else first["msg"]) from error
        if wrong := _contradiction(row):
            raise _bad_line(path, number, wrong)
        if (row.video_id, row.revision) in found:
            raise _bad_line(path, number, f"{row.video_id}, revision {row.revision}, was there before")
        found[row.video_id, row.revision] = row
    return found


def _contradiction(row: SignalsRow) -> str | None:
    for snapshot in row.snapshots:
        if (snapshot.video_id, snapshot.revision) != (row.video_id, row.revision):
            return f"a snapshot is of {snapshot.video_id}, revision {snapshot.revision}, not of {row.video_id}"
    if any(later.plays <= earlier.plays for earlier, later in pairwise(row.snapshots)):
        return "a snapshot counts no more plays than the one before it"
    return None


def _bad_line(path: Path, number: int, what: str) -> UserError:
    return UserError(f"{path}, line {number}: {what}", "mend or remove the line")
