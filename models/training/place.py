"""Folders that appear whole or not at all, in the place of older ones."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import UserError


def check_target(folder: Path) -> None:
    """Raise UserError where `folder` holds something that is not a bundle."""
    if folder.is_file() or (folder.exists() and any(folder.iterdir()) and not (folder / "bundle.json").is_file()):
        raise UserError(f"{folder} is not empty and is not a bundle", "name another folder")


@contextmanager
def taking_the_place_of(folder: Path) -> Iterator[Path]:
    """A new, empty folder that takes the name of `folder`, and its place, where the block ends without an error.

    Raises UserError where `folder` holds something that is not a bundle, or its parent cannot be made.
    """
    check_target(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder.parent} cannot be made: {error.strerror}", "name another folder") from error
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        new, previous = Path(scratch) / "bundle", Path(scratch) / "previous"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(previous)
        try:
            new.rename(folder)
        except OSError:
            if previous.exists():
                previous.rename(folder)
            raise


@contextmanager
def changed(bundle: Path, out: Path) -> Iterator[Path]:
    """A copy of a bundle's folder to change, which takes the place of `out`; that may be the bundle's own."""
    with taking_the_place_of(out.resolve()) as new:
        shutil.copytree(bundle, new, dirs_exist_ok=True)
        yield new
