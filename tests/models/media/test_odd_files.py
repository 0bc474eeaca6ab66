"""Files that lie, lack or break: each ends as a clip a viewer would recognise or as a MediaError with its own code."""

from __future__ import annotations

import wave
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from models.media.decode import decode_clip
from models.media.types import AudioPlan, Clip, FramePlan, MediaError, MediaLimits
from tests.models.media.reading import expected_clip
from tests.support import broken_clips
from tests.support.clips import picture, write_clip

PLAN = FramePlan(count=8, size=32)
SOUND = AudioPlan(sample_rate=16_000, window=400, hop=160, mels=32, seconds=1.0)
LIMITS = MediaLimits()


def error_of(path: Path, limits: MediaLimits = LIMITS) -> str:
    with pytest.raises(MediaError) as caught:
        decode_clip(path, PLAN, SOUND, limits)
    return caught.value.code


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An ordinary mp4 whose moov box comes last."""
    return write_clip(tmp_path_factory.mktemp("source") / "a.mp4", seconds=2, gop=8, bframes=2).read_bytes()


@pytest.fixture(scope="module")
def fast_start(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The same with the moov box first."""
    path = tmp_path_factory.mktemp("source") / "a.mp4"
    options = {"movflags": "+faststart"}
    return write_clip(path, seconds=2, gop=8, audio=False, container_options=options).read_bytes()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not_media"),
        (b"this is a text file with the name of a video\n" * 20, "not_media"),
        (broken_clips.PLAYLIST.encode(), "container"),
        (broken_clips.CONCAT.encode(), "container"),
        (b"\x00\x00\x00\x18ftypisom" + broken_clips.PLAYLIST.encode(), "container"),
        (b"\x1a\x45\xdf\xa3" + b"\x00" * 200, "container"),
    ],
    ids=["empty", "text", "playlist", "concat", "playlist-behind-ftyp", "ebml-and-nothing"],
)
def test_what_is_no_video_file_is_refused(tmp_path: Path, content: bytes, code: str) -> None:
    assert error_of(saved(tmp_path / "a.mp4", content)) == code


def test_other_containers_are_refused(tmp_path: Path) -> None:
    assert error_of(write_clip(tmp_path / "a.mp4", container_format="avi", audio=False)) == "container"
    assert error_of(write_clip(tmp_path / "b.mp4", container_format="mpegts", audio=False)) == "container"


def test_other_codecs_are_refused(tmp_path: Path) -> None:
    assert error_of(write_clip(tmp_path / "a.mp4", codec="mpeg4", audio=False)) == "codec"


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    assert error_of(tmp_path / "nothing.mp4") == "unreadable"


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    assert error_of(path) == "no_video"


def test_a_wave_file_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "NONE"))
        file.writeframes(b"\x00" * 8000)
    assert error_of(path) == "container"


def test_cover_art_is_no_moving_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44_100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        image = av.VideoFrame.from_ndarray(picture(0, (32, 32)), format="rgb24").reformat(format="yuvj420p")
        image.pts = 0
        for packet in [*cover.encode(image), *cover.encode(None)]:
            container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        for packet in [*sound.encode(frame), *sound.encode(None)]:
            container.mux(packet)
    assert error_of(path) == "no_video"


@pytest.mark.parametrize(
    "changed",
    [
        lambda data: broken_clips.claim_size(data, 30_000, 30_000),
        lambda data: broken_clips.with_parameter_set(data, broken_clips.sparse_header(16_000, 16_000)),
        lambda data: broken_clips.claim_size(
            broken_clips.with_parameter_set(data, broken_clips.sparse_header(16_000, 16_000)), 16_000, 16_000
        ),
    ],
    ids=["container", "codec", "both"],
)
def test_a_header_that_claims_a_huge_picture_is_refused_before_any_raster(
    tmp_path: Path, source: bytes, changed: object
) -> None:
    assert callable(changed)
    before = peak_memory()
    assert error_of(saved(tmp_path / "a.mp4", changed(source))) == "too_many_pixels"
    assert peak_memory() - before < 200 * 2**20  # one such picture takes 384 MiB and more


def peak_memory() -> int:
    """Bytes this process ever held at once."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_a_thread_of_a_picture_is_refused(tmp_path: Path) -> None:
    assert error_of(write_clip(tmp_path / "a.mp4", size=(1600, 16), audio=False)) == "too_many_pixels"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (replace(LIMITS, max_bytes=1000), "too_large"),
        (replace(LIMITS, max_pixels=96 * 64 - 1), "too_many_pixels"),
        (replace(LIMITS, max_duration_s=1.5), "too_long"),
        (replace(LIMITS, max_frames=19), "too_many_frames"),
        (replace(LIMITS, max_fps=5), "too_many_frames"),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_every_cap_is_kept(tmp_path: Path, name: str, limits: MediaLimits, code: str) -> None:
    path = write_clip(tmp_path / name, seconds=2, fps=10)
    assert error_of(path, limits) == code


def test_what_is_within_every_cap_is_decoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", seconds=2, fps=10)
    exact = MediaLimits(path.stat().st_size, max_pixels=96 * 64, max_duration_s=2.0, max_frames=20, max_fps=10)
    assert decode_clip(path, PLAN, SOUND, exact).frames.shape == (8, 32, 32, 3)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_file_cut_short_is_refused_where_a_wanted_picture_is_lost(
    tmp_path: Path, fast_start: bytes, share: float
) -> None:
    begin = broken_clips.box(fast_start, b"mdat")
    cut = fast_start[: begin + int((len(fast_start) - begin) * share)]
    assert error_of(saved(tmp_path / "a.mp4", cut)) == "truncated"


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_matroska_file_cut_short_is_refused_too(tmp_path: Path, share: float) -> None:
    data = write_clip(tmp_path / "a.mkv", seconds=2, audio=False).read_bytes()
    assert error_of(saved(tmp_path / "b.mkv", data[: int(len(data) * share)])) == "truncated"


def test_a_file_without_its_index_is_refused(tmp_path: Path, source: bytes) -> None:
    assert error_of(saved(tmp_path / "a.mp4", source[: broken_clips.box(source, b"moov")])) == "container"


def test_a_stream_whose_length_is_not_told_is_read_to_its_end(tmp_path: Path) -> None:
    clip = decode_clip(write_clip(tmp_path / "a.mkv", seconds=2, container_options={"live": "1"}), PLAN)
    assert clip.duration_s == pytest.approx(2.0, abs=0.01)


def test_a_damaged_middle_shows_the_picture_before_it(tmp_path: Path, source: bytes) -> None:
    clip = decode_clip(saved(tmp_path / "a.mp4", broken_clips.damaged(source, 0.3, 0.4)), PLAN)
    whole = decode_clip(saved(tmp_path / "b.mp4", source), PLAN)
    assert clip.frames.shape == whole.frames.shape
    assert (np.diff(clip.timestamps) >= 0).all()
    np.testing.assert_array_equal(clip.frames[0], whole.frames[0])
    np.testing.assert_array_equal(clip.frames[-1], whole.frames[-1])


@pytest.mark.parametrize("share", [(0.1, 0.95), (0.0, 1.0)])
def test_a_file_that_is_mostly_damage_is_refused(tmp_path: Path, source: bytes, share: tuple[float, float]) -> None:
    assert error_of(saved(tmp_path / "a.mp4", broken_clips.damaged(source, *share))) == "decode_failed"


def test_broken_sound_counts_as_none(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", seconds=2)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            if packet.size and packet.pos is not None:
                data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    clip = decode_clip(saved(tmp_path / "b.mp4", bytes(data)), PLAN, SOUND)
    assert clip.audio is None
    np.testing.assert_array_equal(clip.frames, decode_clip(path, PLAN).frames)


@pytest.mark.parametrize(
    ("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)], ids=["90", "180", "270"]
)
def test_a_display_matrix_turns_the_picture(
    tmp_path: Path, source: bytes, matrix: tuple[int, int, int, int], turns: int
) -> None:
    upright = decode_clip(saved(tmp_path / "a.mp4", source), PLAN)
    turned = decode_clip(saved(tmp_path / "b.mp4", broken_clips.turned(source, matrix)), PLAN)
    np.testing.assert_array_equal(turned.frames, np.rot90(upright.frames, turns, axes=(1, 2)))
    assert (turned.width, turned.height) == ((96, 64) if turns == 2 else (64, 96))


def test_what_an_edit_list_cuts_away_is_not_shown(tmp_path: Path) -> None:
    """The file begins between keyframes: the pictures from the keyframe to the cut are decoded and never shown."""
    whole = write_clip(tmp_path / "whole.mp4", seconds=3, gop=10, audio=False)
    path = tmp_path / "cut.mp4"
    with av.open(str(whole)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for packet in old.demux(stream):
            if packet.size:
                packet.pts -= round(Fraction(1, 2) / packet.time_base)
                packet.dts -= round(Fraction(1, 2) / packet.time_base)
                packet.stream = copy
                new.mux(packet)
    clip = decode_clip(path, PLAN)
    assert clip.duration_s == pytest.approx(2.5)
    images, stamps = expected_clip(path, PLAN.count, PLAN.size)
    np.testing.assert_allclose(clip.timestamps, stamps, atol=1e-9)
    np.testing.assert_array_equal(clip.frames, images)


def test_stamps_that_repeat_are_read_in_sequence(tmp_path: Path) -> None:
    """Every stamp is there twice, so that it does not tell which picture is meant."""
    path = tmp_path / "a.mkv"
    with av.open(str(write_clip(tmp_path / "b.mkv", seconds=2, audio=False))) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in old.demux(stream) if p.size):
            packet.pts = packet.dts = number // 2 * 200
            packet.stream = copy
            new.mux(packet)
    clip = decode_clip(path, PLAN)
    assert (np.diff(clip.timestamps) >= 0).all()
    assert set(np.round(clip.timestamps * 1000).astype(int) % 200) == {0}


def test_a_picture_that_grows_beyond_the_cap_half_way_is_refused(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "small.mkv", seconds=0.5, audio=False, gop=5)
    large = write_clip(tmp_path / "large.mkv", seconds=1, audio=False, gop=5, size=(640, 480))
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as new:
        copy = None
        for begin, name in ((0, small), (500, large)):
            with av.open(str(name)) as old:
                stream = old.streams.video[0]
                parameters = av.BitStreamFilterContext("h264_mp4toannexb", stream)
                copy = copy or new.add_stream_from_template(stream)
                for packet in old.demux(stream):
                    for converted in parameters.filter(packet):
                        if converted.size:
                            converted.pts, converted.dts = converted.pts + begin, (converted.dts or 0) + begin
                            converted.stream = copy
                            new.mux(converted)
    assert decode_clip(path, PLAN).timestamps[-1] > 1.0
    assert error_of(path, replace(LIMITS, max_pixels=320 * 240)) == "too_many_pixels"


def test_only_media_errors_leave(tmp_path: Path, source: bytes) -> None:
    """Bytes flipped all over the index and the headers, with a seed."""
    rng = np.random.default_rng(5)
    moov = broken_clips.box(source, b"moov")
    ends: set[str] = set()
    for _ in range(150):
        changed = bytearray(source)
        for place in rng.integers(moov, len(source), 3):
            changed[place] = rng.integers(0, 256)
        try:
            clip: Clip | None = decode_clip(saved(tmp_path / "a.mp4", bytes(changed)), PLAN, SOUND)
        except MediaError as error:
            ends.add(error.code)
        else:
            assert clip is not None
            assert clip.frames.shape == (8, 32, 32, 3)
            assert (np.diff(clip.timestamps) >= 0).all()
            ends.add("clip")
    assert "clip" in ends
    assert len(ends) > 2


def test_sound_is_heard_from_its_own_beginning(tmp_path: Path) -> None:
    """All stamps of the file are ten seconds late, as in a clip cut out of a stream."""
    whole, path = write_clip(tmp_path / "whole.mkv", seconds=2), tmp_path / "late.mkv"
    with av.open(str(whole)) as old, av.open(str(path), "w") as new:
        copies = {s.index: new.add_stream_from_template(s) for s in (old.streams.video[0], old.streams.audio[0])}
        for packet in old.demux():
            if packet.size:
                late = round(10 / packet.time_base)
                packet.pts, packet.dts = packet.pts + late, (packet.dts or 0) + late
                packet.stream = copies[packet.stream_index]
                new.mux(packet)
    clip, expected = decode_clip(path, PLAN, SOUND), decode_clip(whole, PLAN, SOUND)
    assert clip.audio is not None
    assert expected.audio is not None
    assert len(clip.audio) == pytest.approx(len(expected.audio), abs=2048)
    np.testing.assert_allclose(clip.timestamps, expected.timestamps, atol=0.002)
