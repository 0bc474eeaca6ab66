"""`reelsort review`: people decide what the model would not, from a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import psycopg
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.errors import UserError
from stream.cli.options import Format, FormatOption
from stream.cli.records import opened, storable
from stream.review.categories import search
from stream.review.desk import Desk
from stream.review.export import LeftOut, export
from stream.review.queue import Answer, OpenTask, open_tasks, task_of, waiting
from stream.review.show import settled_line
from stream.settings import load_settings
from stream.store.registry import at_hand, require_entered
from stream.store.review import Review, Verdict, apply_review, dismiss, enrol, require_reviewer, undo_review
from stream.words import percent, span, visible

NAME = "review"
app = typer.Typer(no_args_is_help=True, help="Review tasks: what waits for people, and what they say to it.")

NameArgument = Annotated[str, typer.Argument(callback=storable, help="The reviewer's name.")]
AsOption = Annotated[str, typer.Option("--as", callback=storable, help="Who reviews; enrolled before.")]


@app.command("enrol")
def _enrol(name: NameArgument) -> None:
    """Let somebody review."""
    with opened(load_settings(), "review") as connection:
        enrol(connection, name)
    typer.echo(f"{visible(name)} may review")


@app.command("dismiss")
def _dismiss(name: NameArgument) -> None:
    """Let somebody review no more; what they said stands."""
    with opened(load_settings(), "review") as connection:
        dismiss(connection, name)
    typer.echo(f"{visible(name)} reviews no more")


@app.command("categories")
def _categories(
    words: Annotated[list[str] | None, typer.Argument(help="Parts of a name or an id; all without.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """The categories of the bundle at hand, of both levels."""
    found = search(at_hand(load_settings()).taxonomy, " ".join(words or []))
    if output is Format.JSON:
        typer.echo(orjson.dumps([category._asdict() for category in found]))
        return
    table = Table("id", "zh", "en", box=None, pad_edge=False)
    for category in found:
        table.add_row(category.id if category.parent is None else f"  {category.id}", category.zh, category.en)
    console = Console(highlight=False)
    console.print(table if found else "no category has all of these words")


@app.command("ls")
def _ls(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the first ones first.")] = 20,
    escalated: Annotated[bool, typer.Option("--escalated", help="Those that somebody passed on, alone.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Open tasks, in the order in which people should take them."""
    now = datetime.now(UTC)
    with opened(load_settings(), "review") as connection:
        tasks, all_open = open_tasks(connection, now, limit, escalated=escalated), waiting(connection)
    if output is Format.JSON:
        report = {"open": all_open.open, "escalated": all_open.escalated, "tasks": [_plain(task) for task in tasks]}
        typer.echo(orjson.dumps(report))
        return
    console = Console(highlight=False)
    console.print(_table(tasks, now))
    console.print(f"{len(tasks)} shown of {all_open.open} open, {all_open.escalated} of them escalated (--escalated)")


@app.command("decide")
def _decide(
    reviewer: AsOption,
    video: Annotated[str | None, typer.Argument(callback=storable, help="Without: one task after another.")] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="The model's answer is right.")] = False,
    level2: Annotated[str | None, typer.Option(callback=storable, help="It is this level-2 category.")] = None,
    level1: Annotated[
        str | None, typer.Option(callback=storable, help="It is this level-1 category; level 2 cannot be told.")
    ] = None,
    escalate: Annotated[bool, typer.Option("--escalate", help="Somebody more experienced shall look.")] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Leave it as it is.")] = False,
    note: Annotated[str, typer.Option(callback=storable, help="Why; kept with the review.")] = "",
    escalated: Annotated[bool, typer.Option("--escalated", help="One after another: what others passed on.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Decide one video, or one task after another at the keyboard."""
    answers: tuple[tuple[bool, Verdict], ...] = (
        (confirm, "confirm"),
        (level2 is not None, "correct"),
        (level1 is not None, "correct"),
        (escalate, "escalate"),
        (skip, "skip"),
    )
    given = [verdict for chosen, verdict in answers if chosen]
    if video is None:
        if given or note or output is Format.JSON:
            raise UserError("an answer is about one video, and none was named", "name the video")
        _at_the_desk(reviewer, escalated)
        return
    if len(given) != 1:
        raise UserError(
            "a video is decided by exactly one answer",
            "give one of --confirm, --level2, --level1, --escalate and --skip",
        )
    (verdict,) = given
    settings = load_settings()
    taxonomy = at_hand(settings).taxonomy
    now = datetime.now(UTC)
    with opened(settings, "review") as connection:
        task = task_of(connection, video, now)
        review = Review(task.task_id, video, reviewer, verdict, level1, level2, note=note)
        settled = apply_review(connection, review, taxonomy, now)
    if output is Format.JSON:
        typer.echo(orjson.dumps({"video_id": video, "verdict": verdict} | settled._asdict()))
    elif settled.label_revision is None:
        typer.echo("the task waits for somebody more experienced" if escalate else "the task stays as it is")
    else:
        Console(highlight=False, soft_wrap=True).print(settled_line(settled, taxonomy))


@app.command("undo")
def _undo(
    video: Annotated[str, typer.Argument(callback=storable)], reviewer: AsOption, output: FormatOption = Format.TABLE
) -> None:
    """Take your own last word on a video back: the model's newest decision is in force again."""
    settings = load_settings()
    hand = at_hand(settings)
    with opened(settings, "review") as connection:
        require_entered(connection, hand.model)
        within = timedelta(hours=settings.review.deadline_h)
        settled = undo_review(connection, video, reviewer, hand.model, datetime.now(UTC), within)
    if output is Format.JSON:
        typer.echo(orjson.dumps({"video_id": video, "verdict": "undo"} | settled._asdict()))
    else:
        Console(highlight=False, soft_wrap=True).print(f"taken back; {settled_line(settled, hand.taxonomy)}")


@app.command("export")
def _export(
    file: Annotated[Path, typer.Argument(help="Where the lines go (JSONL); an older file is replaced.")],
    output: FormatOption = Format.TABLE,
) -> None:
    """What people said, with logits and evidence, for `reelsort train-signals --decisions`. Audit samples stay out."""
    settings = load_settings()
    model = at_hand(settings).model
    with opened(settings, "review") as connection:
        written, left_out = export(connection, model, file)
    if output is Format.JSON:
        typer.echo(orjson.dumps({"written": written, "left_out": {each.value: left_out[each] for each in LeftOut}}))
        return
    typer.echo(f"{written} decisions in {file}")
    for each, words in _LEFT_OUT.items():
        if left_out[each]:
            typer.echo(f"{left_out[each]} left out: {words}")


_LEFT_OUT = {
    LeftOut.AUDIT: "audit samples, which measure and do not teach",
    LeftOut.TAXONOMY: "of another taxonomy than the bundle at hand",
    LeftOut.LEVEL1: "level 1 alone, where level 2 could not be told",
    LeftOut.LOGITS: "no stored logits of this bundle's encoder (REELSORT_INFERENCE__BUNDLE names the bundle)",
}


def _at_the_desk(reviewer: str, escalated: bool) -> None:
    settings = load_settings()
    hand = at_hand(settings)
    console = Console(highlight=False, soft_wrap=True)
    with opened(settings, "review") as connection:
        _require(connection, reviewer)
        desk = Desk(
            connection,
            hand,
            reviewer,
            console,
            escalated=escalated,
            within=timedelta(hours=settings.review.deadline_h),
        )
        try:
            desk.run()
        except (EOFError, KeyboardInterrupt):
            console.print()
    done = ", ".join(f"{count} × {verdict}" for verdict, count in desk.tally.items())
    console.print(done or "nothing was decided")


def _require(connection: psycopg.Connection[Any], reviewer: str) -> None:
    with connection.cursor() as cursor:
        require_reviewer(cursor, reviewer)


def _table(tasks: Iterable[OpenTask], now: datetime) -> Table:
    table = Table("video", "title", "priority", "age", "due in", "why", "the model", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"  # an id that is cut short cannot be copied
    for task in tasks:
        answer = "" if task.answer is None else f"{task.answer.level2} {_share(task.answer)}"
        table.add_row(
            escape(visible(task.video_id)),
            escape(visible(task.title, 40)),
            f"{task.priority:.2f}",
            span(now - task.requested_at),
            span(task.deadline_at - now),
            ", ".join(task.reasons),
            escape(visible(answer)),
        )
    return table


def _share(answer: Answer) -> str:
    share = dict(answer.top_k).get(answer.level2)
    return "" if share is None else percent(share)


def _plain(task: OpenTask) -> dict[str, Any]:
    plain = asdict(task)
    for name, value in (("answer", task.answer), ("said", task.said)):
        plain[name] = None if value is None else value._asdict()
    return plain
