"""Fault 4: poison among good videos, through real decoders and the demo's model; then nothing but poison."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

from schemas.topics import VIDEO_DEAD, VIDEO_PUBLISHED
from stream.store.messages import ERROR_CODE, ERROR_DETAIL
from tests.faults.field import Field, wait_for
from tests.faults.lab import Lab
from tests.faults.ledger import Input, judge
from tests.faults.poison import (
    INNER_HOSTS,
    PoisonValue,
    PoisonVideo,
    broken_store,
    good_clips,
    mend_store,
    poison_values,
    poison_videos,
)
from tests.faults.scenarios import Form, Outcome, conclude, rng_of

NUMBER = 4
TITLE = "poison"
ALSO_CLASSIC = False
GOOD_PER_S = 8.0
DECODE_TIMEOUT_S = 3.0
NEIGHBOUR_LIMIT = 2.0  # times the p99 of a clean run
BREAKER_PAUSE_S = 2.0


def run(lab: Lab, form: Form) -> Outcome:
    root = lab.folder / "media"
    clips = good_clips(root)
    outside = lab.folder / "outside.mp4"
    shutil.copyfile(clips[0], outside)
    settings = {
        "classify__stub": "false",
        "inference__runtime": "onnxruntime",
        "inference__precision": "fp32",
        "inference__vision_batch": "16",
        "inference__threads": "1",
        "media__file_root": str(root),
        "media__allowed_hosts": json.dumps(INNER_HOSTS),
        "media__decode_processes": "3",
        "media__decode_timeout_s": str(DECODE_TIMEOUT_S),
        "media__decode_memory_bytes": str(400 * 2**20),
        "classify__breaker_pause_s": str(BREAKER_PAUSE_S),
    }
    poison = poison_videos(root, outside, 100 if form is Form.FULL else 20)
    with lab.field("poison", **settings) as field:
        among = _among_good_videos(field, clips, poison, form, rng_of(lab, NUMBER))
    with lab.field("halt", **settings) as field:
        alone = _nothing_but_poison(field, clips, root, form)
    return Outcome(NUMBER, TITLE, among.figures | alone.figures, among.failures + alone.failures)


# --- poison among good videos


def _among_good_videos(
    field: Field, clips: Sequence[Path], videos: Sequence[PoisonVideo], form: Form, rng: Random
) -> Outcome:
    windows, good = (6, 50) if form is Form.FULL else (2, 24)
    values = poison_values()
    spread = _spread(videos, values, rng)
    field.start("relay")
    field.start("classify", bad_decoders=True)
    _publish_paced(field, clips, 2 * int(GOOD_PER_S), [])
    field.await_settled(len(field.published), 120)  # loaded and warm
    clean: list[Input] = []
    neighbours: list[Input] = []
    poisoned: dict[Input, PoisonVideo] = {}
    sent = 0
    for window in range(windows):  # in turns, so that whatever else the machine does meets both alike
        clean += _publish_paced(field, clips, good, [])[0]
        field.await_settled(len(field.published) + sent, 60)
        part = spread[window * len(spread) // windows : (window + 1) * len(spread) // windows]
        beside, bad = _publish_paced(field, clips, good, part)
        neighbours += beside
        poisoned |= bad
        sent += len(part) - len(bad)
        field.await_settled(len(field.published) + sent, 120)
    failures = field.stop()

    latency = _latencies(field)
    clean_p99, p99 = (_p99([latency[item] for item in inputs]) for inputs in (clean, neighbours))
    limit = NEIGHBOUR_LIMIT * clean_p99
    if form is Form.QUICK:  # few videos on a shared machine: at least nobody waits for a decoder that hangs
        limit = max(limit, DECODE_TIMEOUT_S)
    if p99 > limit:
        failures.append(f"p99 of neighbours is {p99:.2f} s, of a clean run {clean_p99:.2f} s")
    expected = [(item[0], video.name, video.code) for item, video in poisoned.items()]
    expected += [(value.name, value.name, value.code) for value in values]
    failures += _wrong_letters(field, expected)
    dead = {(video_id, revision) for video_id, revision in field.query("SELECT video_id, revision FROM dead_letters")}
    may_be_labelled = {item for item, video in poisoned.items() if video.code is None}
    figures = {
        "kinds_of_poison": len(videos) - len(may_be_labelled) + len(values),
        "cuts_dead": len(may_be_labelled & dead),
        "cuts_labelled": len(may_be_labelled - dead),
        "clean_p99_ms": round(1000 * clean_p99),
        "neighbours_p99_ms": round(1000 * p99),
        "p99_ratio": round(p99 / clean_p99, 2),
    }
    poison = poisoned.keys() - (may_be_labelled - dead)
    return conclude(sys.modules[__name__], field, figures, failures, poison=set(poison), unparsed=len(values))


def _spread(
    videos: Sequence[PoisonVideo], values: Sequence[PoisonValue], rng: Random
) -> list[PoisonVideo | PoisonValue]:
    """In any order, but those that take a decoder out far from each other: as many at once would leave none."""
    holding = [video for video in videos if video.holds_decoder]
    spread: list[PoisonVideo | PoisonValue] = [video for video in videos if not video.holds_decoder]
    spread += values
    rng.shuffle(spread)
    gap = len(spread) // len(holding)
    for number, video in enumerate(holding):
        spread.insert(number * (gap + 1) + gap // 2, video)
    return spread


def _publish_paced(
    field: Field, clips: Sequence[Path], good: int, poison: Sequence[PoisonVideo | PoisonValue]
) -> tuple[list[Input], dict[Input, PoisonVideo]]:
    """`good` videos at a steady pace with `poison` evenly among them. Returns the good inputs and the poisoned ones."""
    good_inputs: list[Input] = []
    poisoned: dict[Input, PoisonVideo] = {}
    sent = 0
    begun = time.monotonic()
    for number in range(good):
        time.sleep(max(0.0, begun + number / GOOD_PER_S - time.monotonic()))  # the load itself
        good_inputs += field.publish(1, uri=lambda at: clips[at % len(clips)].as_uri())
        while sent < (number + 1) * len(poison) // good:
            bad = poison[sent]
            if isinstance(bad, PoisonVideo):
                poisoned[field.publish(1, uri=lambda _, uri=bad.uri: uri)[0]] = bad  # type: ignore[misc]
            else:
                field.send_raw([(bad.name.encode(), bad.value, [])])
            sent += 1
    return good_inputs, poisoned


def _latencies(field: Field) -> dict[Input, float]:
    """Seconds from an event's arrival in Kafka to its decision in Postgres."""
    arrived = {message.key().decode(): message.timestamp()[1] / 1000 for message in field.read_topic(VIDEO_PUBLISHED)}
    decided = field.query("SELECT video_id, revision, extract(epoch FROM decided_at)::float8 FROM decisions")
    return {(video_id, revision): at - arrived[video_id] for video_id, revision, at in decided}


def _p99(latencies: Sequence[float]) -> float:
    return sorted(latencies)[int(0.99 * (len(latencies) - 1))]


def _wrong_letters(field: Field, expected: Sequence[tuple[str, str, str | None]]) -> list[str]:
    """expected: (key, name, code) of each poison; where the code is None there may be a letter of any code, or none."""
    letters: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for message in field.read_topic(VIDEO_DEAD):
        headers = {name: value.decode() for name, value in message.headers() or ()}
        letters[message.key().decode()].append((headers[ERROR_CODE], headers[ERROR_DETAIL]))
    failures = []
    for key, name, code in expected:
        found = letters.pop(key, [])
        if code is None and not found:
            continue
        if len(found) != 1 or not found[0][1] or (code is not None and found[0][0] != code):
            failures.append(f"{name}: {found} instead of one dead letter {code}")
    if letters:
        failures.append(f"dead letters of nobody's: {dict(letters)}")
    return failures


# --- nothing but poison


def _nothing_but_poison(field: Field, clips: Sequence[Path], root: Path, form: Form) -> Outcome:
    """Every file is broken, as after a fault of the store that serves them: halt, hold, and go on when it is mended."""
    count = 400 if form is Form.FULL else 120
    files = broken_store(root / "store", count)
    field.start("relay")
    classify = field.start("classify")
    field.publish(count, uri=lambda number: files[number].as_uri())
    wait_for(lambda: field.logged("classify", "halted:") > 0, 120, lambda: "the breaker does not open")
    time.sleep(BREAKER_PAUSE_S)  # what is durable already is still committed
    died, held = field.handled(), field.committed()
    time.sleep(2 * BREAKER_PAUSE_S)  # two probes
    failures = [] if classify.alive else [f"classify ended: {classify.log}"]
    if field.committed() != held or field.handled() != died:
        failures.append("offsets or dead letters moved while halted")
    if early := judge(field.read_back(), set()).committed_past_durable:
        failures.append(f"committed while halted: {early[:3]}")
    mend_store(root / "store", count, clips[0])
    mended = field.await_settled(count, 180)
    failures += field.stop()
    dead = {(video_id, revision) for video_id, revision in field.query("SELECT video_id, revision FROM dead_letters")}
    if len(dead) > field.settings.classify.breaker_window:
        failures.append(f"{len(dead)} dead letters, more than the breaker's window")
    figures = {"all_poison": count, "dead_before_halt": len(dead), "went_on_after_s": round(mended, 1)}
    outcome = conclude(sys.modules[__name__], field, figures, failures, poison=dead)
    return Outcome(NUMBER, TITLE, figures, outcome.failures)
