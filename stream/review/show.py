"""A task as lines for a terminal, in rich's markup. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.markup import escape

from schemas.taxonomy import Taxonomy
from stream.review.queue import OpenTask
from stream.store.review import Settled
from stream.words import author_words, engagement_words, named, percent, span, visible

TEXT_LENGTH = 400  # characters of each of a video's texts


def task_lines(task: OpenTask, known: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """All that may be shown of any task: nothing of the model's answer. known: as evidence_json() has it."""
    due = task.deadline_at - now
    when = f"due in {span(due)}" if due.total_seconds() > 0 else f"[red]overdue by {span(-due)}[/red]"
    marks = "[magenta]escalated[/magenta] · " if task.escalated else ""
    yield f"[bold]{_text(task.title) or '(no title)'}[/bold]"
    yield (
        f"[dim]{_text(task.video_id)} revision {task.revision} · {marks}waiting {span(now - task.requested_at)}"
        f" · {when} · {', '.join(task.reasons)}[/dim]"
    )
    for name, text in (("ocr", " / ".join(task.ocr)), ("asr", task.asr), ("tags", ", ".join(task.tags))):
        if text.strip():
            yield f"{name:<7}{_text(text)}"
    yield f"{'author':<7}{_text(task.author_id)}: {escape(author_words(known['author']))}"
    yield f"{'people':<7}{escape(engagement_words(known['engagement']))}"
    yield f"{'media':<7}{_text(task.media_uri)}"


def answer_lines(task: OpenTask, taxonomy: Taxonomy) -> Iterator[str]:
    """What was said of the video, and the answers that can be picked by number."""
    if task.said is not None:
        said = task.said.level2 or task.said.level1
        where = "in force" if task.said.in_force else f"of revision {task.said.revision}"
        yield f"[yellow]a reviewer said ({where}): {escape(named(said, taxonomy))}[/yellow]"
    if task.answer is None:
        yield "[yellow]an audit sample: type letters of the category you see[/yellow]"
        return
    yield f"the model: [cyan]{escape(named(task.answer.level2, taxonomy))}[/cyan]"
    yield from choice_lines(
        [level2 for level2, _ in task.answer.top_k], taxonomy, [share for _, share in task.answer.top_k]
    )


def choice_lines(ids: Sequence[str], taxonomy: Taxonomy, shares: Sequence[float] | None = None) -> Iterator[str]:
    """Categories by number; shares: their probabilities."""
    for place, category in enumerate(ids):
        share = "" if shares is None else f"{percent(shares[place]):>6}  "
        yield f"{place + 1:>3}  {share}{escape(named(category, taxonomy))}"


def settled_line(settled: Settled, taxonomy: Taxonomy) -> str:
    """The label after a review or an undo."""
    label = settled.level2 or settled.level1
    told = "people decide" if label is None else f"{escape(named(label, taxonomy))} is in force"
    return f"[green]{told}[/green], label revision {settled.label_revision}"


def _text(text: str) -> str:
    return escape(visible(text, TEXT_LENGTH))
