"""From a video file to the few pictures and the sound a model wants: one thread, in this process, no trust in the file.

The order of work: sniff, open, check the header, demux once and keep the packets, choose moments, decode only the
groups of pictures that hold one, check that exactly those pictures came, resize. Where they did not come (odd stamps,
damage), the packets are read in sequence and whatever a player would show is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from models.media import frame_plan as planning
from models.media.container import (
    Packets,
    audio_stream,
    check_picture,
    codec_name,
    decoder_options,
    opened,
    read_packets,
    video_stream,
)
from models.media.pictures import Resizer, quarter_turns
from models.media.sound import decode_sound
from models.media.types import AudioPlan, Clip, FramePlan, MediaError, MediaLimits

_PLAYABLE = 0.5  # of the packets must decode in sequence; below that, what comes shows the damage more than the video
_DEFAULT_LIMITS = MediaLimits()


def decode_clip(
    path: Path, frame_plan: FramePlan, audio_plan: AudioPlan | None = None, limits: MediaLimits = _DEFAULT_LIMITS
) -> Clip:
    """Decode what the plans ask for. Timestamps count from the first picture shown.

    A file cut short is refused as 'truncated' where a wanted moment lies in the lost part; damaged or foreign sound
    counts as no sound. Raises MediaError and nothing else: unreadable, not_media, container, codec, no_video,
    too_large, too_long, too_many_pixels, too_many_frames, memory, truncated, decode_failed.
    """
    try:
        return _decode(path, frame_plan, audio_plan, limits, thorough=False)
    except _Incomplete:
        return _decode(path, frame_plan, audio_plan, limits, thorough=True)


Picture = tuple[int, NDArray[np.uint8]]  # its stamp in ticks, its pixels


class _Incomplete(Exception):
    """Some picture did not come out as its packet said."""


def _decode(
    path: Path, frame_plan: FramePlan, audio_plan: AudioPlan | None, limits: MediaLimits, *, thorough: bool
) -> Clip:
    """The clip, decoding no more than it needs, or all of it. Only the former raises _Incomplete."""
    with opened(path, limits, thorough) as container:
        video = video_stream(container, limits)
        sound = audio_stream(container) if audio_plan is not None else None
        packets = read_packets(container, video, sound, audio_plan.seconds if audio_plan is not None else 0.0, limits)
        if not packets.pictures:
            raise MediaError("truncated" if video.frames else "no_video", "the file holds no picture")
        stamps = _stamps(packets.pictures)
        first, end = planning.span(stamps)
        moments = planning.targets(frame_plan, first, _planned_end(packets, end))
        if moments[-1] >= end:
            there = float(end * packets.tick)
            raise MediaError("truncated", f"{packets.promised_end_s:.2f} s are promised, {there:.2f} s are there")
        reader = _PictureReader(video, packets.pictures, Resizer(frame_plan), limits)
        pictures = reader.in_sequence(moments) if thorough else reader.by_index(stamps, moments)
        heard = decode_sound(sound, packets.sound, audio_plan) if sound is not None and audio_plan is not None else None
        return Clip(
            frames=np.stack([image for _, image in pictures]),
            timestamps=np.array([float(max(0, pts - first) * packets.tick) for pts, _ in pictures], np.float64),
            audio=heard,
            duration_s=float((end - first) * packets.tick),
            width=reader.width,
            height=reader.height,
            codec=codec_name(video) or "",
        )


class _PictureReader:
    """Two ways to the pictures wanted at given moments, over packets kept in memory."""

    def __init__(
        self, video: VideoStream, packets: Sequence[Packet[VideoStream]], resize: Resizer, limits: MediaLimits
    ) -> None:
        self.packets = packets
        self.resize = resize
        self.limits = limits
        self.width, self.height = 0, 0
        self.context = video.codec_context
        self.context.thread_count = 1
        self.context.options = decoder_options(limits)
        self.context.open(strict=False)  # before skip_frame is touched: libdav1d reads it once, here

    def by_index(self, stamps: Sequence[planning.PacketStamp], moments: planning.Ticks) -> list[Picture]:
        """The pictures by the packets' stamps, decoding no more than they need. Raises _Incomplete."""
        shown = np.array(sorted(stamp.pts for stamp in stamps if stamp.shown), np.int64)
        if (np.diff(shown) == 0).any():
            raise _Incomplete  # two pictures with one stamp: it does not tell which is meant
        chosen = [int(pts) for pts in shown[planning.shown_at(shown, moments)]]
        wanted = set(chosen)
        came: dict[int, NDArray[np.uint8]] = {}
        try:
            for run in planning.feeds(stamps, wanted):
                for frame in self._run(self.packets[run.start : run.stop], wanted):
                    if frame.pts in wanted and frame.pts not in came and not frame.is_corrupt:
                        came[frame.pts] = self._image(frame)
        except (av.FFmpegError, ValueError) as error:
            raise _Incomplete from error
        if len(came) < len(wanted):
            raise _Incomplete
        return [(pts, came[pts]) for pts in chosen]

    def in_sequence(self, moments: planning.Ticks) -> list[Picture]:
        """The pictures a player would show: everything is decoded, stamps that run backwards stand still."""
        arrivals: list[int] = []
        for frame in self._all():
            last = arrivals[-1] if arrivals else 0
            arrivals.append(max(last, frame.pts) if arrivals and frame.pts is not None else frame.pts or last)
        if not arrivals or len(arrivals) < _PLAYABLE * len(self.packets):
            raise MediaError("decode_failed", f"{len(arrivals)} of {len(self.packets)} pictures can be decoded")
        chosen = planning.shown_at(np.array(arrivals, np.int64), moments).tolist()
        wanted, images = set(chosen), {}
        for index, frame in enumerate(self._all()):
            if index in wanted:
                images[index] = self._image(frame)
        return [(arrivals[index], images[index]) for index in chosen]

    def _run(self, packets: Sequence[Packet[VideoStream]], wanted: set[int]) -> Iterator[VideoFrame]:
        """Decode one run from a clean start; pictures that are neither wanted nor leant on are not reconstructed."""
        self.context.flush_buffers()
        for packet in packets:
            self.context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            yield from self.context.decode(packet)
        yield from self.context.decode(None)

    def _all(self) -> Iterator[VideoFrame]:
        """Every picture that can be decoded, over whatever damage lies between."""
        self.context.flush_buffers()
        self.context.skip_frame = "DEFAULT"
        for packet in [*self.packets, None]:
            try:
                frames = self.context.decode(packet)
            except (av.InvalidDataError, av.EOFError):
                continue
            yield from frames

    def _image(self, frame: VideoFrame) -> NDArray[np.uint8]:
        check_picture(frame.width, frame.height, self.limits)  # a stream may change its size half-way
        if not self.width:
            sideways = quarter_turns(frame) % 2 == 1
            self.width, self.height = (frame.height, frame.width) if sideways else (frame.width, frame.height)
        return self.resize(frame)


def _stamps(packets: Sequence[Packet[VideoStream]]) -> list[planning.PacketStamp]:
    """Stamps in ticks. A packet without one is shown when it is decoded."""
    return [
        planning.PacketStamp(
            pts=packet.pts if packet.pts is not None else packet.dts or 0,
            duration=packet.duration or 0,
            keyframe=packet.is_keyframe,
            shown=not packet.is_discard,
        )
        for packet in packets
    ]


def _planned_end(packets: Packets, end: int) -> int:
    """The end moments are spread over: of what came, or of what was promised where the file was cut."""
    if packets.complete or packets.promised_end_s is None:
        return end
    return max(end, int(packets.promised_end_s / packets.tick))
