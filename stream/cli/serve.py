"""`reelsort serve JOB…`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from schemas.errors import ExitCode, UserError
from stream.serve import ALL, JOBS, serve
from stream.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command("serve")(_serve)


def _serve(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB…", help=f"{', '.join(JOBS)}, or {ALL}.")],
    from_beginning: Annotated[
        bool | None,
        typer.Option(
            "--from-beginning/--from-now",
            help="Where to read on if the committed offsets have expired, and where a new group begins.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("-X", metavar="KEY=VALUE", help="Raw Kafka client option; may be repeated.")
    ] = None,
    admin_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of /livez, /readyz and /metrics; 0 picks a free one.")
    ] = None,
    supervisor: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> int:
    """Run jobs until SIGTERM or Ctrl-C; each finishes what it has in hand before it ends."""
    overrides: dict[str, Any] = {"kafka": {"options": _options(option or [])}}
    if from_beginning is not None:
        start = "from-beginning" if from_beginning else "from-now"
        overrides["kafka"]["expired_offsets"] = start
        overrides["classify"] = {"start": start}
    if admin_port is not None:
        overrides["admin"] = {"port": admin_port}
    return serve(jobs, load_settings(**overrides), supervisor)


def _options(given: list[str]) -> dict[str, str]:
    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UserError(f"-X {text} is not KEY=VALUE", "write it like -X security.protocol=SSL", ExitCode.USAGE)
        options[name] = value
    return options
