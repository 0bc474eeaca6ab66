"""The beginning of a video's sound, as mono samples."""

from __future__ import annotations

from collections.abc import Iterable

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet
from numpy.typing import NDArray

from models.media.types import AudioPlan


def decode_sound(
    stream: AudioStream, packets: Iterable[Packet[AudioStream]], plan: AudioPlan
) -> NDArray[np.float32] | None:
    """float32 [samples] mono in [-1, 1] at `plan.sample_rate`, at most `plan.seconds`; None where nothing decodes.

    Damage ends the reading and what was heard before it counts: a video with broken sound is labelled without it.
    """
    context = stream.codec_context
    context.thread_count = 1
    wanted = int(plan.seconds * plan.sample_rate)
    resampler = _Resampler(plan.sample_rate)
    blocks: list[NDArray[np.float32]] = []
    have = 0
    try:
        for packet in [*packets, None]:
            for frame in context.decode(packet):
                for block in resampler.push(frame):
                    blocks.append(block)
                    have += len(block)
            if have >= wanted:
                break
        blocks.extend(resampler.push(None))
    except (av.FFmpegError, ValueError):
        pass
    if not blocks:
        return None
    return np.nan_to_num(np.clip(np.concatenate(blocks)[:wanted], -1.0, 1.0))


class _Resampler:
    """libswresample through a filter graph of one thread (av.AudioResampler's graph starts one for every core)."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.graph: av.filter.Graph | None = None

    def push(self, frame: AudioFrame | None) -> list[NDArray[np.float32]]:
        """Samples that became ready; None flushes."""
        if self.graph is None:
            if frame is None:
                return []
            self.graph = self._configured(frame)
        self.graph.push(frame)
        ready: list[NDArray[np.float32]] = []
        while True:
            try:
                out = self.graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return ready
            ready.append(np.asarray(out.to_ndarray(), np.float32).reshape(-1))

    def _configured(self, frame: AudioFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        graph.threads = 1
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=frame.time_base,
        )
        convert = graph.add("aformat", sample_rates=str(self.sample_rate), sample_fmts="flt", channel_layouts="mono")
        sink = graph.add("abuffersink")
        source.link_to(convert)
        convert.link_to(sink)
        graph.configure()
        return graph
