"""Opening a container that nobody vouches for, and reading its packets under caps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.audio.stream import AudioStream
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from models.media.types import MediaError, MediaLimits

VIDEO_CODECS = frozenset({"h264", "hevc", "vp9", "av1"})
AUDIO_CODECS = frozenset({"aac", "mp3", "opus", "vorbis", "flac", "alac", "ac3", "eac3", "pcm_s16le", "pcm_s16be"})
# Names of decoders, which libavformat wants here, and not of codecs.
_VIDEO_DECODERS = ("h264", "hevc", "vp9", "av1", "libdav1d")
_AUDIO_DECODERS = (
    *("aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "flac", "alac", "ac3", "eac3"),
    *("pcm_s16le", "pcm_s16be"),
)
_LOCAL_ONLY = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm",
    "max_streams": "32",
}
_HEADERS_ONLY = {
    "fflags": "+noparse+nofillin",
    "codec_whitelist": "none",
    "probesize": "32",
    "analyzeduration": "0",
}
_ISO_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"})
_EBML = b"\x1a\x45\xdf\xa3"
_OTHER_CONTAINERS = {
    b"RIFF": "AVI or WAV",
    b"OggS": "Ogg",
    b"FLV\x01": "Flash video",
    b"#EXTM3U": "a playlist",
    b"ffconcat": "a concatenation script",
    b"<?xml": "XML (a DASH manifest?)",
    b"\x47\x40": "an MPEG transport stream",
    b"\x00\x00\x01\xba": "an MPEG program stream",
}
_ASPECT = 32  # beyond this the long side of a centre crop would be a bomb, and nothing could be seen
_ALIGNMENT, _LONGEST_SIDE = 64, 16_384
_SLACK_S, _SLACK = 0.1, 0.02  # containers round durations, and the tracks of one file end at different moments


@dataclass(frozen=True)
class Packets:
    """All packets that matter, in decode order.

    tick: the unit of the pictures' stamps, seconds. promised_end_s: where the header says the file ends, if it says so.
    complete: whether what came reaches that far.
    """

    tick: Fraction
    pictures: list[Packet[VideoStream]]
    sound: list[Packet[AudioStream]]
    promised_end_s: float | None
    complete: bool


def sniff(path: Path) -> str:
    """The libavformat demuxer for this file, by its first bytes and never by its name: 'mov' or 'matroska'."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise MediaError("unreadable", error.strerror or str(error)) from error
    if head[4:8] in _ISO_BOXES:
        return "mov"
    if head.startswith(_EBML):
        return "matroska"
    for magic, name in _OTHER_CONTAINERS.items():
        if head.startswith(magic):
            raise MediaError("container", f"{name}; mp4, mov, webm and matroska are read")
    raise MediaError("not_media", "the file is empty" if not head else "neither mp4, mov, webm nor matroska")


@contextmanager
def opened(path: Path, limits: MediaLimits, thorough: bool) -> Iterator[InputContainer]:
    """The container, opened with the sniffed demuxer alone, from a local file alone.

    First its headers are judged with no codec at work. thorough: pictures are decoded to complete what the headers do
    not say (how far pictures are reordered); otherwise libavformat decodes none, which saves time and trust. Raises
    MediaError; errors of FFmpeg in the body become MediaError('decode_failed').
    """
    demuxer = sniff(path)
    if (size := path.stat().st_size) > limits.max_bytes:
        raise MediaError("too_large", f"{size} bytes, at most {limits.max_bytes}")
    with _opened(path, demuxer, _HEADERS_ONLY) as container:
        video_stream(container, limits)
    decoders = _VIDEO_DECODERS + _AUDIO_DECODERS if thorough else _AUDIO_DECODERS
    options = {"codec_whitelist": ",".join(decoders)} | decoder_options(limits)
    with _opened(path, demuxer, options) as container:
        yield container


@contextmanager
def _opened(path: Path, demuxer: str, options: dict[str, str]) -> Iterator[InputContainer]:
    error_code = "container"
    try:
        with av.open(
            f"file:{path.absolute()}", "r", format=demuxer, options=_LOCAL_ONLY | options, metadata_errors="replace"
        ) as container:
            error_code = "decode_failed"
            yield container
    except MemoryError as error:
        raise MediaError("memory", "it wants more memory than there is") from error
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(error_code, _reason(error)) from error


def video_stream(container: InputContainer, limits: MediaLimits) -> VideoStream:
    """The first moving picture, checked by what its header says. Cover art is no moving picture."""
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    stream = next((s for s in container.streams.video if not s.disposition & still), None)
    if stream is None:
        raise MediaError("no_video", "the file holds no video stream")
    if (codec := codec_name(stream)) not in VIDEO_CODECS:
        raise MediaError("codec", f"{codec or 'an unknown one'}; h264, hevc, vp9 and av1 are decoded")
    check_picture(stream.codec_context.width, stream.codec_context.height, limits)
    if stream.frames > limits.max_frames:
        raise MediaError("too_many_frames", f"{stream.frames}, at most {limits.max_frames}")
    promised = _promised_end_s(container, stream)
    if promised is not None and promised > limits.max_duration_s:
        raise MediaError("too_long", f"{promised:.1f} s, at most {limits.max_duration_s:.1f}")
    return stream


def decoder_options(limits: MediaLimits) -> dict[str, str]:
    """The cap on pixels inside libavcodec, with room for the rows that it aligns; check_picture() is exact."""
    return {"max_pixels": str(limits.max_pixels + _ALIGNMENT * _LONGEST_SIDE)}


def check_picture(width: int, height: int, limits: MediaLimits) -> None:
    """Raises MediaError where a picture is larger, or longer and thinner, than allowed."""
    if width <= 0 or height <= 0:
        raise MediaError("container", "the header gives no picture size")
    if width * height > limits.max_pixels:
        raise MediaError("too_many_pixels", f"{width}x{height}, at most {limits.max_pixels} pixels")
    if max(width, height) > _ASPECT * min(width, height):
        raise MediaError("too_many_pixels", f"{width}x{height} is longer than {_ASPECT} times its width")


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream whose codec is allowed."""
    return next((stream for stream in container.streams.audio if codec_name(stream) in AUDIO_CODECS), None)


def codec_name(stream: Stream) -> str | None:
    """The standard's name ('av1', not 'libdav1d'); None where there is no decoder for it."""
    context = cast("CodecContext | None", stream.codec_context)  # the stubs do not say so
    return None if context is None else context.codec.canonical_name


def read_packets(
    container: InputContainer, video: VideoStream, sound: AudioStream | None, seconds: float, limits: MediaLimits
) -> Packets:
    """Demux once. Pictures: all of them. Sound: the first `seconds`. Damage ends the reading, as the end would."""
    pictures: list[Packet[VideoStream]] = []
    heard: list[Packet[AudioStream]] = []
    begin, length, end = float("inf"), 0.0, float("-inf")
    streams = (video,) if sound is None else (video, sound)
    try:
        for packet in container.demux(*streams):
            if packet.size == 0 or packet.is_corrupt:
                continue
            at = _seconds(packet)
            until = at + (packet.duration or 0) * float(packet.time_base)
            end = max(end, until)
            if packet.stream_index != video.index:
                if not heard or at - max(0.0, _seconds(heard[0])) < seconds:  # an encoder's lead-in is before 0
                    heard.append(cast("Packet[AudioStream]", packet))
                continue
            begin, length = min(begin, at), max(length, until - min(begin, at))
            pictures.append(cast("Packet[VideoStream]", packet))
            if len(pictures) > limits.max_frames:
                raise MediaError("too_many_frames", f"more than {limits.max_frames}")
    except av.InvalidDataError:
        pass
    if length > limits.max_duration_s:
        raise MediaError("too_long", f"{length:.1f} s, at most {limits.max_duration_s:.1f}")
    if len(pictures) > limits.max_fps * max(length, 1.0):
        raise MediaError("too_many_frames", f"{len(pictures)} in {length:.2f} s, at most {limits.max_fps:g} a second")
    promised = _promised_end_s(container, video)
    complete = promised is None or promised <= end + max(_SLACK_S, _SLACK * promised)
    return Packets(video.time_base or Fraction(1), pictures, heard, promised, complete)


def _promised_end_s(container: InputContainer, video: VideoStream) -> float | None:
    """Where the header says the file ends, if it is the header that says so.

    Without one libavformat guesses from bit rates, and a guess condemns nobody. In mp4 and mov a sample table, in
    matroska streams without a bit rate tell that it is no guess.
    """
    if container.format.name.startswith("mov"):
        guessed = video.frames == 0
    else:
        guessed = any(stream.codec_context.bit_rate for stream in container.streams if codec_name(stream))
    if guessed or container.duration is None:
        return None
    return container.duration / av.time_base


def _seconds(packet: Packet[Any]) -> float:
    ticks = packet.pts if packet.pts is not None else packet.dts
    return 0.0 if ticks is None else float(ticks * packet.time_base)


def _reason(error: BaseException) -> str:
    """FFmpeg's own words without the path, which may hold what the log should not."""
    return (getattr(error, "strerror", None) or str(error)).split(": '")[0]
