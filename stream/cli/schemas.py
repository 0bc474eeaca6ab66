"""reelsort schemas: JSON Schemas and AsyncAPI out of the code, and whether they keep the last release's promises."""

from __future__ import annotations

from typing import Annotated

import typer

from schemas import generate as made
from schemas.errors import ExitCode, UserError

NAME = "schemas"
app = typer.Typer(no_args_is_help=True, help="Generate and check the events' JSON Schemas.")


@app.command()
def generate(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 5 where a file is out of date.")] = False,
) -> None:
    """Write schemas/jsonschema/ and schemas/asyncapi.json from the code."""
    if check:
        if stale := made.drifted():
            raise UserError(
                f"out of date: {', '.join(stale)}", "run `reelsort schemas generate`", ExitCode.CHECK_FAILED
            )
        typer.echo("up to date")
        return
    changed = made.write_generated()
    typer.echo("\n".join(changed) if changed else "nothing changed")


@app.command()
def compat() -> None:
    """Compare the events with those of the last release; exit 5 where a reader or writer of today would break."""
    _refuse_breaks()
    typer.echo("compatible with the last release")


@app.command()
def release() -> None:
    """Make today's events the released ones. Part of making a release; refused where they break the last."""
    if any(made.RELEASED.glob("*.json")):
        _refuse_breaks()
    typer.echo(f"released {len(made.write_release())} events")


def _refuse_breaks() -> None:
    if breaks := made.breaks_since_release():
        raise UserError(
            f"{len(breaks)} promises of the last release are broken:\n" + "\n".join(map(str, breaks)),
            "keep the old field beside the new one, or make a new version of the event",
            ExitCode.CHECK_FAILED,
        )
