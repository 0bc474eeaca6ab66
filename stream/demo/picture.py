"""The demo as a picture for documents: the newest labels and the summary, as SVG."""

from __future__ import annotations

import io
import re

from rich.console import Console

from stream.demo.display import Row, label_table, show_summary
from stream.demo.evidence import EvidenceReport
from stream.demo.report import DemoReport

WIDTH = 112  # characters


def picture(rows: list[Row], report: DemoReport, evidence: EvidenceReport | None) -> str:
    """An SVG that fetches nothing: the fonts rich would load from the network are left to the viewer."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print("[bold]$ make demo[/bold]")
    console.print(label_table(rows))
    show_summary(console, report, [], evidence)
    svg = console.export_svg(title="reelsort demo")
    return re.sub(r"@font-face\s*{[^}]*}", "", svg)
