from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle
from models.runtimes.base import FusionInputs, FusionOutputs
from models.runtimes.golden import Golden, load_golden
from models.runtimes.registry import Precision, RuntimeSpec
from models.runtimes.select import ChosenRuntime, choose_runtime
from schemas.errors import UserError


@dataclass(frozen=True)
class Pins:
    runtime: str | None = None
    precision: Precision | None = None
    vision_batch: int | None = None
    threads: int | None = 1


class Clock:
    """Stands still but for what the fakes below spend."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeRuntime:
    """Answers as recorded, but for `error`; a batch of n frames takes cost(n) seconds."""

    name: str
    golden: Golden
    clock: Clock
    cost: Callable[[int], float]
    error: float
    closed: bool = False

    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        self.clock.now += self.cost(len(frames))
        depth = self.golden.inputs.frames.shape[-1]
        return np.zeros((len(frames), depth), np.float32)

    def fuse(self, inputs: FusionInputs) -> FusionOutputs:
        rows = np.resize(np.arange(self.golden.count), len(inputs.frames))
        outputs = self.golden.outputs
        shifted = outputs.level2_logits[rows].copy()
        shifted[:, 0] += self.error
        return FusionOutputs(outputs.level1_logits[rows], shifted, outputs.embedding[rows])

    def close(self) -> None:
        self.closed = True


@dataclass
class Bench:
    """A machine of fake runtimes; remembers what was loaded."""

    bundle: Bundle
    golden: Golden
    cache: Path
    clock: Clock = field(default_factory=Clock)
    loaded: list[FakeRuntime] = field(default_factory=list)
    specs: list[RuntimeSpec] = field(default_factory=list)

    def offer(
        self,
        name: str,
        cost: Callable[[int], float],
        *,
        error: float = 0.0,
        precisions: tuple[Precision, ...] = ("fp32",),
        version: str = "1",
    ) -> None:
        def load(bundle: Bundle, precision: Precision, threads: int) -> FakeRuntime:
            runtime = FakeRuntime(f"{name}-{precision}", self.golden, self.clock, cost, error)
            self.loaded.append(runtime)
            return runtime

        self.specs.append(RuntimeSpec(name, lambda: precisions, load, lambda: version))

    def choose(self, pins: Pins | None = None, **options: Any) -> ChosenRuntime:
        self.loaded.clear()
        settings = {"cache": self.cache, "clock": self.clock, "specs": self.specs} | options
        return choose_runtime(self.bundle, pins or Pins(), **settings)


@pytest.fixture
def bench(tiny: Path, tmp_path: Path) -> Bench:
    bundle = Bundle.load(tiny)
    return Bench(bundle, load_golden(bundle), tmp_path / "cache")


def linear(per_frame: float) -> Callable[[int], float]:
    return lambda frames: per_frame * frames


def test_the_fastest_wins_and_the_others_are_closed(bench: Bench) -> None:
    bench.offer("slow", linear(0.02))
    bench.offer("fast", linear(0.01))
    chosen = bench.choose()
    assert chosen.runtime.name == "fast-fp32"
    assert {runtime.name: runtime.closed for runtime in bench.loaded} == {"slow-fp32": True, "fast-fp32": False}
    assert chosen.report.how == "timed"


def test_a_batch_must_earn_its_latency(bench: Bench) -> None:
    frames = bench.bundle.manifest.frame_plan.count
    bench.offer("linear", linear(0.001))
    assert bench.choose().vision_batch == frames
    bench.specs.clear()
    bench.offer("overhead", lambda count: 0.01 + 0.0001 * count)
    assert bench.choose().vision_batch == 8 * frames


def test_a_fast_runtime_that_answers_wrongly_is_refused(bench: Bench) -> None:
    bench.offer("wrong", linear(0.001), error=1.0)
    bench.offer("nonsense", linear(0.001), error=np.nan)
    bench.offer("right", linear(0.01))
    chosen = bench.choose()
    assert chosen.runtime.name == "right-fp32"
    refused = {entry.runtime: entry.refused for entry in chosen.report.measurements if entry.refused}
    assert refused.keys() == {"wrong", "nonsense"}
    assert "moves a probability" in refused["wrong"]


def test_none_right_is_a_clear_error(bench: Bench) -> None:
    bench.offer("wrong", linear(0.001), error=1.0)
    with pytest.raises(UserError, match="no runtime serves"):
        bench.choose()
    assert all(runtime.closed for runtime in bench.loaded)


def test_the_choice_is_remembered(bench: Bench) -> None:
    bench.offer("slow", linear(0.02))
    bench.offer("fast", linear(0.01))
    first = bench.choose()
    again = bench.choose()
    assert [runtime.name for runtime in bench.loaded] == ["fast-fp32"]
    assert again.report.how == "remembered"
    assert (again.runtime.name, again.vision_batch) == (first.runtime.name, first.vision_batch)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00", b'{"how": "timed"}'])
def test_a_corrupt_memory_is_ignored_and_mended(bench: Bench, content: bytes) -> None:
    bench.offer("a", linear(0.01))
    bench.choose()
    (file,) = bench.cache.iterdir()
    file.write_bytes(content)
    assert bench.choose().report.how == "timed"
    assert bench.choose().report.how == "remembered"


def test_a_memory_of_what_is_not_offered_is_ignored(bench: Bench) -> None:
    bench.offer("a", linear(0.01))
    bench.choose()
    (file,) = bench.cache.iterdir()
    file.write_bytes(file.read_bytes().replace(b'"runtime":"a"', b'"runtime":"b"'))
    assert bench.choose().report.how == "timed"


def test_a_remembered_runtime_that_answers_wrongly_now_is_chosen_anew(bench: Bench) -> None:
    bench.offer("a", linear(0.01))
    bench.offer("b", linear(0.02))
    assert bench.choose().runtime.name == "a-fp32"
    bench.specs.clear()
    bench.offer("a", linear(0.01), error=1.0)
    bench.offer("b", linear(0.02))
    assert bench.choose().runtime.name == "b-fp32"


def test_another_library_version_or_thread_count_is_timed_again(bench: Bench) -> None:
    bench.offer("a", linear(0.01))
    bench.choose()
    assert bench.choose(Pins(threads=2)).report.how == "timed"
    bench.specs.clear()
    bench.offer("a", linear(0.01), version="2")
    assert bench.choose().report.how == "timed"


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(bench: Bench) -> None:
    bench.offer("a", linear(0.01))
    bench.cache.write_bytes(b"a file in its place")
    assert bench.choose().report.how == "timed"


def test_pins_are_kept(bench: Bench) -> None:
    bench.offer("slow", linear(0.02), precisions=("fp32", "bf16"))
    bench.offer("fast", linear(0.01))
    chosen = bench.choose(Pins(runtime="slow", precision="bf16", vision_batch=12, threads=3))
    assert chosen.runtime.name == "slow-bf16"
    assert (chosen.vision_batch, chosen.threads, chosen.report.how) == (12, 3, "pinned")
    assert len(bench.loaded) == 1
    assert bench.choose(Pins(runtime="slow")).runtime.name.startswith("slow")
    assert bench.choose(Pins(precision="bf16")).runtime.name == "slow-bf16"
    assert bench.choose(Pins(vision_batch=12)).vision_batch == 12


def test_a_pinned_runtime_that_answers_wrongly_does_not_serve(bench: Bench) -> None:
    bench.offer("wrong", linear(0.01), error=1.0)
    with pytest.raises(UserError, match="golden probes"):
        bench.choose(Pins(vision_batch=4))
    assert all(runtime.closed for runtime in bench.loaded)


def test_a_pin_that_is_not_here_says_what_is(bench: Bench) -> None:
    bench.offer("a", linear(0.01))
    with pytest.raises(UserError, match="cannot run a bundle with b bf16") as caught:
        bench.choose(Pins(runtime="b", precision="bf16"))
    assert "a fp32" in caught.value.remedy


def test_a_runtime_that_cannot_load_is_passed_over(bench: Bench) -> None:
    def broken(bundle: Bundle, precision: Precision, threads: int) -> FakeRuntime:
        raise UserError("its library is too old")

    bench.offer("good", linear(0.01))
    bench.specs.append(replace(bench.specs[0], name="broken", load=broken))
    chosen = bench.choose()
    assert chosen.runtime.name == "good-fp32"
    assert "its library is too old" in [entry.refused for entry in chosen.report.measurements]


def test_timing_keeps_its_budget(bench: Bench) -> None:
    bench.offer("a", linear(0.05))
    bench.offer("b", linear(0.06))
    bench.choose(budget_s=1.0)
    longest = 0.06 * 8 * bench.bundle.manifest.frame_plan.count
    # the probes of both are answered before timing begins
    probes = (0.05 + 0.06) * len(bench.golden.pixels)
    assert bench.clock.now <= probes + 1.0 + longest


def test_a_runtime_slower_than_the_budget_is_still_timed_once(bench: Bench) -> None:
    bench.offer("a", linear(30.0))
    bench.offer("b", linear(20.0))
    chosen = bench.choose(budget_s=1.0)
    assert chosen.runtime.name == "b-fp32"
    assert chosen.vision_batch == bench.bundle.manifest.frame_plan.count


def test_a_busy_moment_does_not_decide(bench: Bench) -> None:
    hiccup = itertools.chain([0.0] * 30, [1.0], itertools.repeat(0.0))
    bench.offer("a", lambda frames: 0.001 * frames + next(hiccup))
    bench.offer("b", linear(0.002))
    assert bench.choose().runtime.name == "a-fp32"
