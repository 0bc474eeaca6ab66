"""decode_clip gives the very pictures a full sequential reading gives, and the sound's beginning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.media import decode
from models.media.decode import decode_clip
from models.media.types import AudioPlan, FramePlan
from tests.models.media.reading import expected_clip
from tests.support.clips import write_clip

PLAN = FramePlan(count=8, size=32)
SOUND = AudioPlan(sample_rate=16_000, window=400, hop=160, mels=32, seconds=1.0)
UNEVEN = [0, 30, 70, 400, 410, 430, 1100, 1150, 1900, 2000, 2040, 3900, 4000, 4100, 4110]

SHAPES: dict[str, dict[str, Any]] = {
    "h264-mp4": {"name": "a.mp4", "gop": 12},
    "h264-mov-bframes": {"name": "a.mov", "bframes": 2, "gop": 12},
    "h264-mp4-bframes-one-group": {"name": "a.mp4", "bframes": 3, "gop": 250},
    "h264-mkv-bframes": {"name": "a.mkv", "bframes": 2, "gop": 9},
    "h264-mp4-pyramid": {
        "name": "a.mp4",
        "options": {"preset": "medium", "x264-params": "bframes=5:b-pyramid=normal:keyint=15:ref=3:b-adapt=0"},
    },
    "h264-mp4-open-groups": {
        "name": "a.mp4",
        "options": {"preset": "medium", "x264-params": "bframes=3:open-gop=1:keyint=10:min-keyint=10:b-adapt=0"},
    },
    "h264-mkv-open-groups": {
        "name": "a.mkv",
        "options": {"preset": "medium", "x264-params": "bframes=3:open-gop=1:keyint=10:min-keyint=10:b-adapt=0"},
    },
    "h264-mp4-intra-only": {"name": "a.mp4", "gop": 1},
    "h264-mp4-interlaced": {"name": "a.mp4", "options": {"x264-params": "interlaced=1:keyint=12"}},
    "h264-mp4-variable-rate": {"name": "a.mp4", "stamps_ms": UNEVEN, "bframes": 2, "gop": 6},
    "h264-mkv-variable-rate": {"name": "a.mkv", "stamps_ms": UNEVEN, "bframes": 2, "gop": 6},
    "h264-mp4-fragmented": {
        "name": "a.mp4",
        "gop": 8,
        "container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    },
    "h264-mp4-ten-bit": {"name": "a.mp4", "pixel_format": "yuv420p10le"},
    "h264-mp4-444": {"name": "a.mp4", "pixel_format": "yuv444p", "bframes": 2},
    "hevc-mp4": {"name": "a.mp4", "codec": "libx265", "gop": 10},
    "hevc-mkv-open-groups": {
        "name": "a.mkv",
        "codec": "libx265",
        "options": {"x265-params": "log-level=none:pools=1:frame-threads=1:open-gop=1:bframes=4:keyint=8:min-keyint=8"},
    },
    "vp9-webm": {"name": "a.webm", "codec": "libvpx-vp9", "gop": 10},
    "vp9-webm-alt-ref": {
        "name": "a.webm",
        "codec": "libvpx-vp9",
        "options": {"deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "16"},
    },
    "vp9-mp4": {"name": "a.mp4", "codec": "libvpx-vp9", "gop": 30},
    "av1-mp4": {"name": "a.mp4", "codec": "libsvtav1", "gop": 10},
    "av1-webm": {"name": "a.webm", "codec": "libsvtav1", "gop": 40},
    "one-picture": {"name": "a.mp4", "stamps_ms": [0]},
    "fewer-pictures-than-wanted": {"name": "a.mp4", "stamps_ms": [0, 500, 900]},
}


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES.keys())
def clip_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = {"seconds": 3.0, "audio": False} | request.param
    return write_clip(tmp_path_factory.mktemp("shapes") / shape.pop("name"), **shape)


def test_pictures_and_stamps_are_those_of_a_full_reading(clip_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an ordinary file was read in sequence")

    monkeypatch.setattr(decode._PictureReader, "in_sequence", refuse)
    clip = decode_clip(clip_file, PLAN)
    images, stamps = expected_clip(clip_file, PLAN.count, PLAN.size)
    np.testing.assert_allclose(clip.timestamps, stamps, atol=1e-9)
    np.testing.assert_array_equal(clip.frames, images)


def test_reading_in_sequence_gives_the_same(clip_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_index = decode_clip(clip_file, PLAN)

    def give_up(*_: object) -> None:
        raise decode._Incomplete

    monkeypatch.setattr(decode._PictureReader, "by_index", give_up)
    in_sequence = decode_clip(clip_file, PLAN)
    np.testing.assert_array_equal(in_sequence.timestamps, by_index.timestamps)
    np.testing.assert_array_equal(in_sequence.frames, by_index.frames)


def test_the_clip_says_what_the_file_is(tmp_path: Path) -> None:
    clip = decode_clip(write_clip(tmp_path / "a.mp4", seconds=2, size=(96, 64)), PLAN, SOUND)
    assert (clip.width, clip.height, clip.codec) == (96, 64, "h264")
    assert clip.duration_s == pytest.approx(2.0)
    assert clip.frames.shape == (8, 32, 32, 3)
    assert clip.frames.dtype == np.uint8


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
def test_sound_is_the_first_seconds_at_the_plans_rate(tmp_path: Path, name: str) -> None:
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    clip = decode_clip(write_clip(tmp_path / name, codec=codec, seconds=2), PLAN, SOUND)
    assert clip.audio is not None
    assert clip.audio.shape == (16_000,)
    middle = clip.audio[4000:12_000] * np.hanning(8000)
    peak = np.abs(np.fft.rfft(middle)).argmax() * 16_000 / 8000
    assert peak == pytest.approx(440, abs=3)
    assert 0.4 < np.abs(clip.audio[4000:12_000]).max() < 0.6


def test_sound_shorter_than_wanted_is_all_of_it(tmp_path: Path) -> None:
    clip = decode_clip(write_clip(tmp_path / "a.mp4", seconds=0.5), PLAN, SOUND)
    assert clip.audio is not None
    assert 8000 <= len(clip.audio) <= 8000 + 2048  # an AAC frame of padding


def test_no_sound_is_none(tmp_path: Path) -> None:
    assert decode_clip(write_clip(tmp_path / "a.mp4", audio=False), PLAN, SOUND).audio is None
    assert decode_clip(write_clip(tmp_path / "b.mp4", audio=True), PLAN, None).audio is None


def test_the_name_says_nothing(tmp_path: Path) -> None:
    disguised = write_clip(tmp_path / "a.webm", codec="libvpx-vp9").rename(tmp_path / "clip.txt")
    assert decode_clip(disguised, PLAN).codec == "vp9"
