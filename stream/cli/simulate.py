"""`reelsort simulate PATH`: authors' profiles and viewers' actions for generated videos."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.errors import ExitCode
from schemas.events import EngagementAction
from schemas.manifest import MANIFEST, read_manifest
from stream.cli.options import Format, FormatOption
from stream.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command("simulate")(_simulate)


def _simulate(
    path: Annotated[Path, typer.Argument(help="The folder of a generated dataset, or a manifest of its videos.")],
    rate: Annotated[float | None, typer.Option(min=0.001, help="Actions a second; as fast as it goes without.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.0, help="Seconds to send for; until all is sent without.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The dataset's own gives the actions of its signals.jsonl.")] = 1,
    plays: Annotated[int | None, typer.Option(min=0, help="Honest viewers of a video, at most.")] = None,
    spam: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Advertisements below every video, as a share of its viewers.")
    ] = 0.0,
    brigading: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of viewers who all name one wrong class, in their own words.")
    ] = 0.0,
    reports: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of viewers who report the video.")] = 0.0,
    now: Annotated[bool, typer.Option("--now", help="Actions occur when they are sent, not after publishing.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Play the platform: send authors' profiles, and what viewers of generated videos do. An action sent twice counts
    twice."""
    from models.synthetic.audience import Attack
    from stream.simulate.events import Audience, plays_of
    from stream.simulate.run import SimulationOptions, simulate

    rows = read_manifest(path / MANIFEST if path.is_dir() else path)
    audience = Audience(seed, plays, Attack(spam=spam, brigading=brigading, reports=reports))
    options = SimulationOptions(audience, rate, duration, now)
    settings = load_settings()
    columns = (TextColumn("plays sent"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _interrupts() as stop, Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("plays", total=plays_of(rows, audience))

        def show(action: EngagementAction) -> None:
            if action.kind == "play":
                progress.advance(bar)

        done = simulate(settings, rows, options, on_send=show, stop=stop)
    if output is Format.JSON:
        typer.echo(orjson.dumps(asdict(done) | {"interrupted": stop.is_set()}))
    else:
        typer.echo(
            f"sent {done.profiles} profiles and {done.actions} actions, {done.plays} plays, in {done.seconds:.1f} s"
        )
    if stop.is_set():
        raise typer.Exit(ExitCode.INTERRUPTED)


@contextmanager
def _interrupts() -> Iterator[Event]:
    """Set by the first Ctrl-C, so that what was sent is told; a second one ends the command as it is."""
    stop = Event()

    def ask(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
