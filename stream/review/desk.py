"""One reviewer's round through the queue, in a terminal.

next task ─► show ─► ask ─► apply_review() or undo_review() ─► next task
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any
from uuid import UUID

import psycopg
from rich.console import Console
from rich.markup import escape

from schemas.errors import UserError
from stream.review import typed
from stream.review.categories import search
from stream.review.queue import OpenTask, open_tasks, task_of, waiting
from stream.review.show import answer_lines, choice_lines, settled_line, task_lines
from stream.review.typed import Key, NoSuchNumber, Pick, Typed
from stream.store.registry import AtHand, require_entered
from stream.store.review import Review, Settled, TaskClosed, Verdict, apply_review, undo_review
from stream.store.signals import evidence_now
from stream.words import visible

FOUND = 12  # categories a search shows


class Next(Enum):
    """What to do after a task was on the screen."""

    TASK = auto()
    UNDONE = auto()  # take the one that was taken back
    QUIT = auto()


class Desk:
    """The reviewer's name has been checked. tally: how often each verdict was given, `undo` among them."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        at_hand: AtHand,
        reviewer: str,
        console: Console,
        *,
        escalated: bool,
        within: timedelta,
    ) -> None:
        self._connection = connection
        self._at_hand = at_hand
        self._taxonomy = at_hand.taxonomy
        self._reviewer = reviewer
        self._console = console
        self._escalated = escalated
        self._within = within
        self._passed: set[UUID] = set()  # tasks that this round has seen and left open
        self._decided: list[str] = []  # videos, the newest last
        self._undone = ""  # the video that was taken back last
        self.tally: Counter[str] = Counter()

    def run(self) -> None:
        """Until the queue is empty or the reviewer quits. Raises EOFError and KeyboardInterrupt as they come, and
        UserError where the reviewer may not go on."""
        self._say(f"[dim]{escape(typed.HELP)}[/dim]")
        task = self._first()
        while task is not None:
            outcome = self._handle(task)
            if outcome is Next.QUIT:
                return
            task = self._reopened() if outcome is Next.UNDONE else self._first()
        self._say_what_is_left()

    def _first(self) -> OpenTask | None:
        found = open_tasks(
            self._connection,
            datetime.now(UTC),
            1,
            escalated=self._escalated,
            taxonomy_id=self._taxonomy.id,
            without=self._passed,
        )
        return found[0] if found else None

    def _reopened(self) -> OpenTask | None:
        """The task that an undo opened; where the model's answer stands without one, the next of the queue."""
        try:
            return task_of(self._connection, self._undone, datetime.now(UTC))
        except TaskClosed:
            return self._first()

    def _handle(self, task: OpenTask) -> Next:
        self._say("", *task_lines(task, self._known(task), datetime.now(UTC)))
        begun = time.monotonic()
        shown, searching = self._offer(task), False
        while True:
            match self._ask(len(shown)):
                case Key.QUIT:
                    return Next.QUIT
                case Key.HELP:
                    self._say(f"[dim]{escape(typed.HELP)}[/dim]")
                case Key.UNDO:
                    if self._undo():
                        return Next.UNDONE
                case Key.CONFIRM if searching or task.answer is None:
                    shown, searching = self._offer(task), False
                case Key.CONFIRM:
                    return self._give(task, begun, "confirm")
                case Key.ESCALATE:
                    return self._give(task, begun, "escalate")
                case Key.SKIP:
                    return self._give(task, begun, "skip")
                case Pick(place):
                    return self._pick(task, begun, shown[place])
                case NoSuchNumber(number):
                    self._say(f"there is no answer {number} here")
                case typed.Search(words):
                    if found := self._search(words):
                        shown, searching = found, True

    def _known(self, task: OpenTask) -> dict[str, Any]:
        with self._connection.cursor() as cursor:
            return evidence_now(cursor, task, self._taxonomy.id, self._at_hand.model.level1)

    def _ask(self, choices: int) -> Typed:
        while True:
            try:
                return typed.read(self._console.input("[bold]> [/bold]"), choices)
            except UnicodeDecodeError:  # a terminal that deletes half a character leaves the other half
                self._say("that line is no text; type it again")

    def _offer(self, task: OpenTask) -> list[str]:
        """Show the model's answers, and return what can be picked."""
        self._say(*answer_lines(task, self._taxonomy))
        return [] if task.answer is None else [level2 for level2, _ in task.answer.top_k]

    def _search(self, words: str) -> list[str]:
        found = search(self._taxonomy, words)
        if not found:
            self._say(f"no category has {escape(visible(words, 40))}")
            return []
        shown = [category.id for category in found[:FOUND]]
        self._say(*choice_lines(shown, self._taxonomy))
        if len(found) > FOUND:
            self._say(f"[dim]   and {len(found) - FOUND} more: say it more closely[/dim]")
        self._say("[dim]   a number picks one · Enter goes back[/dim]")
        return shown

    def _pick(self, task: OpenTask, begun: float, category: str) -> Next:
        if task.answer is not None and category == task.answer.level2:
            return self._give(task, begun, "confirm")
        if category in self._taxonomy.level2_index:
            return self._give(task, begun, "correct", level2=category)
        return self._give(task, begun, "correct", level1=category)

    def _give(
        self, task: OpenTask, begun: float, verdict: Verdict, level1: str | None = None, level2: str | None = None
    ) -> Next:
        review = Review(
            task_id=task.task_id,
            video_id=task.video_id,
            reviewer=self._reviewer,
            verdict=verdict,
            level1=level1,
            level2=level2,
            seconds_spent=round(time.monotonic() - begun, 1),
        )
        try:
            settled = apply_review(self._connection, review, self._taxonomy, datetime.now(UTC))
        except TaskClosed as closed:
            self._say(f"[yellow]{escape(closed.message)}[/yellow]")
            return Next.TASK
        self.tally[verdict] += 1
        if settled.label_revision is None:
            self._passed.add(task.task_id)
            self._say("escalated" if verdict == "escalate" else "skipped")
        else:
            self._decided.append(task.video_id)
            self._say(settled_line(settled, self._taxonomy))
        return Next.TASK

    def _undo(self) -> bool:
        """Take back the newest of this round; whether that was done."""
        if not self._decided:
            self._say("nothing decided in this round is left to take back; `reelsort review undo` takes a video's name")
            return False
        video_id = self._decided.pop()
        try:
            settled = self._take_back(video_id)
        except UserError as error:
            self._say(f"[yellow]{escape(error.message)}[/yellow]")
            return False
        self.tally["undo"] += 1
        self._undone = video_id
        self._say(f"taken back: {escape(visible(video_id))}; {settled_line(settled, self._taxonomy)}")
        return True

    def _take_back(self, video_id: str) -> Settled:
        model = self._at_hand.model
        require_entered(self._connection, model)
        return undo_review(self._connection, video_id, self._reviewer, model, datetime.now(UTC), self._within)

    def _say_what_is_left(self) -> None:
        left = waiting(self._connection, self._taxonomy.id)
        parts = ["nothing else waits in this queue"]
        if left.escalated and not self._escalated:
            parts.append(f"{left.escalated} escalated tasks wait for somebody more experienced (--escalated)")
        if left.foreign:
            parts.append(f"{left.foreign} tasks are of another bundle's taxonomy (REELSORT_INFERENCE__BUNDLE)")
        self._say("", *parts)

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._console.print(line)
