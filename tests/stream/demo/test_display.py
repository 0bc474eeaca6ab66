"""What a person sees of the demo while it runs and after."""

import io

from rich.console import Console

from stream.demo.display import LiveDisplay, Row


def seen(display: LiveDisplay) -> str:
    """The picture of this moment, as text."""
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(display._render())
    return console.export_text()


def test_a_stage_of_unknown_length_shows_no_figure_of_the_stage_before() -> None:
    display = LiveDisplay(Console(file=io.StringIO()))
    display.stage("labelling", total=240)
    display.advance(7)
    assert "7/240" in seen(display)
    display.stage("reading back")
    assert "reading back" in seen(display)
    assert "240" not in seen(display)


def test_the_bar_is_gone_at_the_end_and_the_labels_stay() -> None:
    display = LiveDisplay(Console(file=io.StringIO()))
    with display:
        display.stage("labelling", total=1)
        display.label(Row("v1", "a [title]", "food", "", 0.9, "labelled_level1", 12))
    assert "labelling" not in seen(display)
    assert "a [title]" in seen(display)
