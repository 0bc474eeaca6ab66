"""What the signals benchmark publishes and draws; its figures are for `reelsort bench signals` to find."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

from stream.bench.signals_memory import ACTIVE_SHARE, EXPIRE_AFTER_H, SPAN, plays, summary, svg


def result() -> dict[str, Any]:
    return {
        "actions": 1000,
        "videos": 100,
        "seconds": 3.0,
        "event_time_h": SPAN / timedelta(hours=1),
        "expire_after_h": EXPIRE_AFTER_H,
        "rss_mib_second_quarter": 100.0,
        "rss_mib_last_quarter": 101.0,
        "growth": 0.01,
        "most_videos_in_table": 12,
        "samples": [
            {"seconds": 1.0, "actions": 0, "videos": 0, "rss_mib": 90.0},
            {"seconds": 2.0, "actions": 1000, "videos": 12, "rss_mib": 101.0},
        ],
    }


def test_the_plot_is_xml_with_a_line_each_for_memory_and_videos() -> None:
    lines = ElementTree.fromstring(svg(result())).findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2
    assert "+1.0%" in summary(result())


def test_videos_come_and_go_while_event_time_passes() -> None:
    actions, videos = 5000, 500
    found = list(plays(actions, videos))
    assert [when for _, when in found] == sorted(when for _, when in found)
    assert found[-1][1] - found[0][1] > 0.99 * SPAN
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, (video, _) in enumerate(found):
        first.setdefault(video, number)
        last[video] = number
    longest = max(last[video] - first[video] for video in first if video != min(first))
    assert longest <= actions * ACTIVE_SHARE + actions / videos
    assert len(first) > 0.9 * videos
