"""The planner against a device that is only imagined: every frame once, every video fused, nobody waits too long."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.classify.planner import Planner, RunFusion, RunVision, Shapes, Slice, Wait


@dataclass(frozen=True)
class Arrival:
    at: float
    frames: int
    length: int


shapes_st = st.builds(
    Shapes,
    vision_batch=st.integers(1, 12),
    fusion_batch=st.integers(1, 4),
    length_buckets=st.just((16, 32, 64)),
    max_wait_s=st.floats(0.0, 2.0),
)
arrivals_st = st.lists(
    st.builds(Arrival, at=st.floats(0.0, 5.0), frames=st.integers(1, 10), length=st.integers(1, 64)), max_size=15
).map(lambda arrivals: sorted(arrivals, key=lambda each: each.at))


@dataclass
class Run:
    """What an imagined device, which takes `cost` seconds a batch, was given."""

    vision: list[tuple[float, tuple[Slice, ...]]]
    fusion: list[tuple[float, RunFusion]]
    finished: dict[int, float]


def simulate(shapes: Shapes, arrivals: list[Arrival], cost: float, failing: frozenset[int] = frozenset()) -> Run:
    """Drive the planner with a clock that jumps to whatever comes next. `failing` videos fail in vision."""
    planner, run, now = Planner(shapes), Run([], [], {}), 0.0
    waiting = list(enumerate(arrivals))
    while True:
        while waiting and waiting[0][1].at <= now:
            ticket, each = waiting.pop(0)
            planner.add(ticket, frames=each.frames, length=each.length, now=each.at)
        action = planner.next(now)
        if isinstance(action, RunVision):
            run.vision.append((now, action.slices))
            now += cost
            for ticket in {part.ticket for part in action.slices} & failing:
                if ticket not in run.finished:
                    planner.drop(ticket)
                    run.finished[ticket] = now
            planner.embedded(action.slices, now)
        elif isinstance(action, RunFusion):
            run.fusion.append((now, action))
            now += cost
            planner.fused(action.tickets)
            run.finished.update(dict.fromkeys(action.tickets, now))
        else:
            next_times = [each.at for _, each in waiting[:1]] + ([action.until] if action.until is not None else [])
            if not next_times:
                assert len(planner) == 0
                return run
            assert min(next_times) > now, "the planner asks to wait for a moment that has passed"
            now = min(next_times)


@given(shapes_st, arrivals_st, st.floats(0.0, 1.0))
def test_every_frame_is_sent_once_in_order_and_every_video_is_fused_once(
    shapes: Shapes, arrivals: list[Arrival], cost: float
) -> None:
    run = simulate(shapes, arrivals, cost)
    sent = [
        (part.ticket, frame) for _, slices in run.vision for part in slices for frame in range(part.start, part.stop)
    ]
    assert sent == [(ticket, frame) for ticket, each in enumerate(arrivals) for frame in range(each.frames)]
    fused = Counter(ticket for _, batch in run.fusion for ticket in batch.tickets)
    assert fused == Counter(range(len(arrivals)))


@given(shapes_st, arrivals_st, st.floats(0.0, 1.0))
def test_no_batch_is_larger_than_its_shape_nor_empty(shapes: Shapes, arrivals: list[Arrival], cost: float) -> None:
    run = simulate(shapes, arrivals, cost)
    for _, slices in run.vision:
        assert 0 < sum(part.stop - part.start for part in slices) <= shapes.vision_batch
    for _, batch in run.fusion:
        assert 0 < len(batch.tickets) <= shapes.fusion_batch
        assert all(shapes.bucket(arrivals[ticket].length) == batch.bucket for ticket in batch.tickets)


@given(shapes_st, arrivals_st)
def test_on_an_instant_device_nobody_waits_longer_than_max_wait(shapes: Shapes, arrivals: list[Arrival]) -> None:
    run = simulate(shapes, arrivals, cost=0.0)
    for ticket, each in enumerate(arrivals):
        assert run.finished[ticket] <= each.at + 2 * shapes.max_wait_s + 1e-9


@given(shapes_st, arrivals_st, st.floats(0.0, 1.0))
def test_a_half_full_vision_batch_is_sent_only_when_its_oldest_is_due(
    shapes: Shapes, arrivals: list[Arrival], cost: float
) -> None:
    for now, slices in simulate(shapes, arrivals, cost).vision:
        if sum(part.stop - part.start for part in slices) < shapes.vision_batch:
            oldest = min(arrivals[part.ticket].at for part in slices)
            assert now >= oldest + shapes.max_wait_s


@given(shapes_st, arrivals_st, st.floats(0.0, 1.0), st.frozensets(st.integers(0, 14), max_size=4))
def test_a_failed_video_takes_nobody_with_it(
    shapes: Shapes, arrivals: list[Arrival], cost: float, failing: frozenset[int]
) -> None:
    run = simulate(shapes, arrivals, cost, failing)
    fused = Counter(ticket for _, batch in run.fusion for ticket in batch.tickets)
    assert fused == Counter(set(range(len(arrivals))) - failing)


def planner(vision_batch: int = 8, fusion_batch: int = 2, max_wait_s: float = 1.0) -> Planner:
    return Planner(Shapes(vision_batch, fusion_batch, (16, 32), max_wait_s))


def test_frames_of_many_videos_share_a_batch() -> None:
    plan = planner()
    for ticket in range(3):
        plan.add(ticket, frames=3, length=10, now=0.0)
    assert plan.next(0.0) == RunVision((Slice(0, 0, 3), Slice(1, 0, 3), Slice(2, 0, 2)))
    assert plan.next(0.0) == Wait(1.0)
    assert plan.next(1.0) == RunVision((Slice(2, 2, 3),))


def test_a_half_full_batch_waits_for_company_and_no_longer() -> None:
    plan = planner()
    plan.add(0, frames=3, length=10, now=5.0)
    assert plan.next(5.0) == Wait(6.0)
    plan.add(1, frames=3, length=10, now=5.5)
    assert plan.next(5.9) == Wait(6.0)
    assert plan.next(6.0) == RunVision((Slice(0, 0, 3), Slice(1, 0, 3)))


def test_fusion_waits_only_while_someone_could_join() -> None:
    plan = planner(vision_batch=3)
    plan.add(0, frames=3, length=10, now=0.0)
    plan.add(1, frames=2, length=10, now=0.0)
    first = plan.next(0.0)
    assert isinstance(first, RunVision)
    plan.embedded(first.slices, 0.1)
    assert plan.next(0.1) == Wait(1.0)  # video 1 may come along
    second = plan.next(1.0)
    assert second == RunVision((Slice(1, 0, 2),))
    plan.embedded(second.slices, 1.05)
    assert plan.next(1.05) == RunFusion(16, (0, 1))


def test_texts_of_different_length_are_fused_apart_and_the_oldest_first() -> None:
    plan = planner(vision_batch=6, fusion_batch=4)
    for ticket, length in enumerate((20, 10, 32)):
        plan.add(ticket, frames=2, length=length, now=float(ticket))
    vision = plan.next(2.0)
    assert isinstance(vision, RunVision)
    plan.embedded(vision.slices, 2.0)
    assert plan.next(2.0) == RunFusion(32, (0, 2))
    assert plan.next(2.0) == RunFusion(16, (1,))


def test_flush_sends_everything_at_once() -> None:
    plan = planner()
    plan.add(0, frames=1, length=10, now=0.0)
    vision = plan.next(0.0, flush=True)
    assert vision == RunVision((Slice(0, 0, 1),))
    plan.embedded([Slice(0, 0, 1)], 0.0)
    assert plan.next(0.0, flush=True) == RunFusion(16, (0,))
    plan.fused([0])
    assert plan.next(0.0, flush=True) == Wait(None)
    assert len(plan) == 0


def test_a_text_that_fits_no_bucket_is_refused_and_leaves_nothing_behind() -> None:
    plan = planner()
    with pytest.raises(ValueError, match="33 tokens"):
        plan.add(0, frames=1, length=33, now=0.0)
    with pytest.raises(ValueError, match="at least one frame"):
        plan.add(0, frames=0, length=3, now=0.0)
    assert len(plan) == 0


@pytest.mark.parametrize("changes", [{"vision_batch": 0}, {"fusion_batch": 0}, {"max_wait_s": -1.0}])
def test_impossible_shapes_are_refused(changes: dict[str, float]) -> None:
    fields = {"vision_batch": 1, "fusion_batch": 1, "length_buckets": (8,), "max_wait_s": 0.0}
    with pytest.raises(ValueError, match="impossible"):
        Shapes(**(fields | changes))
