"""How the demo shows itself: a live table on a terminal, plain lines elsewhere, and a summary."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from stream.demo.evidence import EvidenceReport
from stream.demo.report import DemoReport

_ROUTES = {
    "labelled": "[green]accepted[/green]",
    "labelled_level1": "[yellow]level 1 alone[/yellow]",
    "in_review": "[magenta]to review[/magenta]",
    "failed": "[red]dead letter[/red]",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One label as it arrived. level names are for people; milliseconds run from publishing to the announcement."""

    video_id: str
    title: str
    level1: str
    level2: str
    confidence: float | None
    status: str
    milliseconds: int

    @property
    def names(self) -> str:
        """What is announced: nothing where people decide, level 1 where that alone is sure."""
        return " / ".join(filter(None, (self.level1, self.level2))) or "·"


class Display(Protocol):
    rows: deque[Row]  # the newest, oldest first

    def stage(self, what: str, total: int | None = None) -> None: ...
    def advance(self, count: int = 1) -> None: ...
    def label(self, row: Row) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LiveDisplay:
    """A table that keeps the newest labels in sight, and a bar for the stage at work."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.rows: deque[Row] = deque(maxlen=max(5, min(20, console.height - 10)))
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task("starting", total=None)
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8)

    def stage(self, what: str, total: int | None = None) -> None:
        # another bar: resetting this one to an unknown total would keep the total of the last stage
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total)

    def advance(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)

    def label(self, row: Row) -> None:
        self.rows.append(row)
        self.advance()

    def _render(self) -> Group:
        return Group(label_table(list(self.rows)), self._progress) if self.rows else Group(self._progress)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.remove_task(self._task)
        self._live.stop()


class PlainDisplay:
    """For pipes and logs: a line per stage and, where wanted, a line per label."""

    def __init__(self, console: Console, labels: bool) -> None:
        self.rows: deque[Row] = deque(maxlen=20)
        self._console = console
        self._labels = labels

    def stage(self, what: str, total: int | None = None) -> None:
        self._console.print(what if total is None else f"{what} ({total})")

    def advance(self, count: int = 1) -> None:
        pass

    def label(self, row: Row) -> None:
        self.rows.append(row)
        if self._labels:
            confidence = "" if row.confidence is None else f"{row.confidence:.2f}"
            self._console.print(
                f"{row.video_id}  {escape(row.title[:24])}  {row.names}  {confidence}  "
                f"{_ROUTES.get(row.status, row.status)}  {row.milliseconds} ms",
                soft_wrap=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def label_table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("video", no_wrap=True, style="dim")
    table.add_column("title", no_wrap=True, ratio=2)
    table.add_column("level 1 / level 2", no_wrap=True, ratio=2)
    table.add_column("conf.", justify="right")
    table.add_column("route", no_wrap=True)
    table.add_column("ms", justify="right")
    for row in rows:
        table.add_row(
            row.video_id,
            escape(row.title),
            row.names,
            "" if row.confidence is None else f"{row.confidence:.2f}",
            _ROUTES.get(row.status, row.status),
            str(row.milliseconds),
        )
    return table


def show_summary(
    console: Console,
    report: DemoReport,
    dead: list[tuple[str | None, str, str]],
    evidence: EvidenceReport | None,
) -> None:
    """The last thing a newcomer reads: what came through, how fast, how right, and whether the promises held."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row("published", str(report.published), "videos, each one event on video.published.v1")
    table.add_row("decided", str(report.decided), f"{report.accepted} accepted, {report.accepted_level1} level 1 alone")
    table.add_row(
        "to review",
        str(report.to_review),
        f"not sure enough for the policy: people decide; {report.audited} of the accepted are audited",
    )
    table.add_row("dead letters", str(report.dead), "")
    table.add_row("lost", str(report.lost), "neither labelled nor a dead letter")
    table.add_row("duplicates", str(report.duplicates), "any effect twice, in table or topic")
    table.add_row("throughput", f"{report.videos_per_s:.1f}/s", "all published at once")
    table.add_row(
        "latency",
        f"{report.latency_p50_ms / 1000:.1f} s",
        f"median; p99 {report.latency_p99_ms / 1000:.1f} s, queueing included",
    )
    if report.accuracy_level1 is not None and report.accuracy_level2 is not None:
        table.add_row(
            "accuracy",
            f"{report.accuracy_level1:.3f}",
            f"level 1; level 2 {report.accuracy_level2:.3f}, of all decided",
        )
    if report.accepted_accuracy_level2 is not None:
        table.add_row("", f"{report.accepted_accuracy_level2:.3f}", "level 2, of the accepted ones")
    if evidence is not None:
        _add_evidence(table, evidence)
    console.print()
    console.print(table)
    for name, code, detail in dead[:10]:
        console.print(f"[red]dead letter[/red] {escape(name or 'unreadable')}: {code}: {escape(detail[:160])}")
    for violation in report.violations[:10]:
        console.print(f"[red]broken promise[/red] {escape(violation)}")
    if report.holds:
        console.print("[green]held:[/green] one prediction, one decision and one label a video; each announced once")


def _add_evidence(table: Table, report: EvidenceReport) -> None:
    table.add_row("then", str(report.actions), f"actions of viewers, and {report.profiles} profiles of authors")
    table.add_row(
        "moved", str(report.moved), f"answers: {report.mended} from wrong to right, {report.spoilt} the other way"
    )
    table.add_row(
        "left review", str(report.left_review), f"settled by evidence; {report.entered_review} entered it by conflict"
    )
    table.add_row(
        "labelled",
        f"{report.labelled_before} → {report.labelled_after}",
        f"at level 2; wrong among them {report.wrong_before} → {report.wrong_after}",
    )
    table.add_row(
        "accuracy",
        f"{report.accuracy_after:.3f}",
        f"level 2, of all; {report.accuracy_before:.3f} at publishing",
    )
