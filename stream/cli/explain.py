"""`reelsort explain VIDEO`: a label's whole history, and what moved it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape

from schemas.errors import UserError
from stream.cli.options import Format, FormatOption
from stream.cli.records import opened, storable
from stream.explain import explanation
from stream.settings import Settings, load_settings
from stream.store.history import read_history
from stream.store.registry import at_hand
from stream.store.work import LiveModel
from stream.words import author_words, engagement_words, instant, visible

TEXT_LENGTH = 200

Plain = dict[str, Any]


def register(app: typer.Typer) -> None:
    app.command("explain")(_explain)


def _explain(
    video: Annotated[str, typer.Argument(callback=storable, help="The video's id.")],
    output: FormatOption = Format.TABLE,
) -> None:
    """Why a video is labelled as it is: every decision, what it saw, what moved it, and what people said."""
    settings = load_settings()
    model = _model(settings)
    with opened(settings, "explain") as connection:
        history = read_history(connection, video, model)
    if history.video is None and not history.letters:
        raise UserError(f"video {visible(video)} was never seen here", "mind the spelling of its id")
    told = explanation(history, model)
    if output is Format.JSON:
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        return
    console = Console(highlight=False, soft_wrap=True)
    for line in lines(told):
        console.print(line)


def _model(settings: Settings) -> LiveModel | None:
    """The model at hand, where there is one: without, only what was stored can be told."""
    try:
        return at_hand(settings).model
    except UserError:
        return None


def lines(told: Plain) -> Iterator[str]:
    """explanation() for a terminal, in rich's markup. Pure."""
    yield f"[bold]{_text(told['video_id'])}[/bold]: {_text(told['standing'])}"
    if told["published"] is not None and told["published"]["revision"] >= 0:
        yield from _published(told["published"])
    for prediction in told["predictions"]:
        yield from _prediction(prediction)
    for number, decision in enumerate(told["decisions"], 1):
        yield from _decision(number, decision)
    yield from _known_by_now(told)
    for task in told["tasks"]:
        yield from _task(task)
    for letter in told["dead_letters"]:
        again = f"; sent round again {instant(letter['redriven_at'])}" if letter["redriven_at"] else ""
        yield (
            f"\n[red]dead letter {letter['id']}[/red] {instant(letter['died_at'])}: {_text(letter['code'])}"
            f" {_text(letter['detail'])}, {letter['attempts']} tries, from {_text(letter['source'])}{again}"
        )
    for record in told["pending"]:
        what = _text(record["type"] or "a record")
        yield f"\nnot sent yet: {what} to {record['topic']}, due {instant(record['available_at'])}"


def _published(video: Plain) -> Iterator[str]:
    yield f"\n[bold]published[/bold] {instant(video['published_at'])}, revision {video['revision']}"
    if video["other_revisions"]:
        yield f"  there is something stored of revisions {', '.join(map(str, video['other_revisions']))}, too"
    yield f"  author {_text(video['author_id'])}, media {_text(video['media_uri'])}"
    words = {
        "title": video["title"],
        "ocr": " / ".join(video.get("ocr", ())),
        "asr": video.get("asr", ""),
        "tags": ", ".join(video.get("tags", ())),
    }
    for name, text in words.items():
        if text.strip():
            yield f"  {name} {_text(text)}"


def _prediction(prediction: Plain) -> Iterator[str]:
    frames = ", ".join(f"{second:.2f}" for second in prediction["frame_times"])
    yield (
        f"\n[bold]predicted[/bold] {instant(prediction['created_at'])}, revision {prediction['revision']},"
        f" by {_text(prediction['encoder_id'])}, from frames at {frames} s"
    )
    if prediction["content_top_k"] is None:
        yield "  what it says of the content alone is not told: the bundle at hand has another encoder"
    else:
        best = ", ".join(f"{each['level2']} {each['probability']:.3f}" for each in prediction["content_top_k"])
        yield f"  by the content alone and the policy at hand: {_text(best)}"


def _decision(number: int, decision: Plain) -> Iterator[str]:
    revision = decision["label_revision"]
    standing = "never in force" if revision is None else f"label revision {revision}"
    now = " [green](in force now)[/green]" if decision["in_force"] else ""
    who = "reviewers" if decision["source"] == "human" else "model"
    run = f", run {_text(decision['run_id'])}" if decision["run_id"] else ""
    yield (
        f"\n[bold]decision {number}[/bold] {instant(decision['decided_at'])}: {decision['trigger']}, by the {who},"
        f" revision {decision['revision']}, {standing}{now}"
    )
    yield f"  model {_text(decision['model_id'])}, promotion {decision['promotion_epoch']}{run}"
    yield f"  {_route(decision)}: {_answer(decision)}"
    if decision["reasons"]:
        yield f"  reasons: {_text(', '.join(decision['reasons']))}"
    yield f"  saw of the author: {escape(author_words(decision['saw']['author']))}"
    yield f"  saw of the audience: {escape(engagement_words(decision['saw']['engagement']))}"
    if decision["contributions"]:
        gains = ", ".join(f"{each['signal']} {each['log_odds']:+.2f}" for each in decision["contributions"])
        effect = "moved the answer" if decision["moved"] else "left the answer as it was"
        yield f"  signals {effect}, in log-odds: {_text(gains)}"
    if (alone := decision["without_signals"]) is not None:
        yield (
            f"  without signals: {_text(alone['route'])}, {_text(alone['level2'])} (level 1 {_text(alone['level1'])}),"
            f" {alone['probability']:.3f}"
        )


def _known_by_now(told: Plain) -> Iterator[str]:
    """Evidence other than the decision in force saw, where a model at hand says what it means."""
    newest = told["known"]
    if newest is None:
        return
    for decision in told["decisions"]:
        if decision["in_force"] and decision["saw"] != newest:
            yield "\n[bold]known by now[/bold]"
            yield f"  of the author: {escape(author_words(newest['author']))}"
            yield f"  of the audience: {escape(engagement_words(newest['engagement']))}"


_ROUTES = {"accept": "published", "accept_level1": "published at level 1", "review": "sent to people"}


def _route(decision: Plain) -> str:
    route = _ROUTES.get(decision["route"], _text(decision["route"]))
    return f"{route}, and sampled for audit" if decision["audit"] else route


def _answer(decision: Plain) -> str:
    """The answer that the confidence is of; beside a level-1 answer the level 2 that was withheld."""
    whole = decision["route"] == "accept" or decision["level1"] is None
    held = ""
    if decision["confidence"] is not None:
        against = "" if decision["threshold"] is None else f" against {decision['threshold']:.3f}"
        held = f" {decision['confidence']:.3f}{against}"
    answer = _text((decision["level2"] if whole else decision["level1"]) or "nothing")
    withheld = f"; the best level 2 was {_text(decision['level2'])}" if decision["level2"] and not whole else ""
    return f"[cyan]{answer}[/cyan]{held}{withheld}"


def _task(task: Plain) -> Iterator[str]:
    ended = "" if task["closed_at"] is None else f" {instant(task['closed_at'])}"
    why = f" ({_text(task['closed_why'])})" if task["closed_why"] else ""
    passed = ", escalated" if task["escalated"] else ""
    yield (
        f"\n[bold]task[/bold] {instant(task['requested_at'])}, due {instant(task['deadline_at'])}:"
        f" {_text(', '.join(task['reasons']))}; {task['state']}{ended}{why}{passed}"
    )
    for review in task["reviews"]:
        answer = review["level2"] or review["level1"]
        seconds = "" if review["seconds_spent"] is None else f" after {review['seconds_spent']:.0f} s"
        note = f": {_text(review['note'])}" if review["note"] else ""
        yield (
            f"  {instant(review['decided_at'])} {_text(review['reviewer'])}: {review['verdict']}"
            f"{f' [cyan]{_text(answer)}[/cyan]' if answer else ''}{seconds}{note}"
        )


def _text(text: str) -> str:
    return escape(visible(text, TEXT_LENGTH))
