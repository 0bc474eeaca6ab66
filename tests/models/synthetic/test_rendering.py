"""What is seen and heard carries its factor, and nothing where the factor is hidden."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.synthetic.design import Direction, Noise, Shape, Tone
from models.synthetic.language import phrases
from models.synthetic.picture import draw_frames
from models.synthetic.sampling import Scene, draw_item
from models.synthetic.sound import SAMPLE_RATE, make_sound

SCENES = [replace(draw_item(6, "test", index, Noise()).scene, has_audio=True) for index in range(12)]


def horizontal_centre(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[T]: the mean column of the pixels that differ from the corner of the picture, which the shape never reaches."""
    differs = np.abs(frames.astype(int) - frames[:, :1, :1]).max(axis=3) > 70
    return np.array([np.nonzero(frame)[1].mean() for frame in differs])


def spectrum(sound: NDArray[np.float32]) -> NDArray[np.float64]:
    """Energy below 500 Hz, up to 1500 Hz and above, as shares."""
    energy = np.abs(np.fft.rfft(sound)) ** 2
    pitches = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    bands = [energy[pitches < 500], energy[(pitches >= 500) & (pitches < 1500)], energy[pitches >= 1500]]
    return np.array([band.sum() for band in bands]) / energy.sum()


@pytest.mark.parametrize("scene", SCENES)
def test_the_shape_crosses_the_picture_in_its_direction(scene: Scene) -> None:
    plain = replace(scene, caption="", shape=Shape.DISC)
    rightwards = horizontal_centre(draw_frames(replace(plain, direction=Direction.RIGHT)))
    leftwards = horizontal_centre(draw_frames(replace(plain, direction=Direction.LEFT)))
    assert rightwards[-1] - rightwards[0] > 0.3 * scene.width
    np.testing.assert_allclose(leftwards, rightwards[::-1])


@pytest.mark.parametrize("scene", SCENES)
def test_a_hidden_direction_looks_the_same_backwards(scene: Scene) -> None:
    frames = draw_frames(replace(scene, direction=None))
    np.testing.assert_array_equal(frames, frames[::-1])


@pytest.mark.parametrize("scene", SCENES)
def test_shapes_differ_and_a_hidden_one_is_none_of_them(scene: Scene) -> None:
    clips = [draw_frames(replace(scene, shape=shape)).astype(int) for shape in (*Shape, None)]
    for number, clip in enumerate(clips):
        assert all(np.abs(clip - other).max() > 60 for other in clips[:number])


@pytest.mark.parametrize("caption", sorted({line for topic in phrases().topics.values() for line in topic.ocr}))
def test_captions_fit_the_smallest_picture(caption: str) -> None:
    longest = max((subject for topic in phrases().topics.values() for subject in topic.subjects), key=len)
    bare = replace(SCENES[0], width=64, height=64, frames=2, caption="")
    written = draw_frames(replace(bare, caption=caption.format(s=longest)))
    changed = np.abs(written.astype(int) - draw_frames(bare)).max(axis=(0, 3)) > 100
    assert changed.any()
    assert changed.any(axis=1).sum() <= 32, "half of the picture stays free"


@pytest.mark.parametrize("scene", SCENES)
def test_each_tone_has_its_band_and_a_hidden_one_has_none(scene: Scene) -> None:
    for band, tone in enumerate(Tone):
        assert spectrum(make_sound(replace(scene, tone=tone))).argmax() == band
    hidden = make_sound(replace(scene, tone=None))
    assert np.abs(hidden).max() < 0.3
    assert spectrum(hidden)[0] < 0.2


def test_sound_stays_in_range_and_lasts_as_long_as_the_picture() -> None:
    for scene in SCENES:
        sound = make_sound(scene)
        assert np.abs(sound).max() <= 1.0
        assert len(sound) == pytest.approx(scene.duration_s * SAMPLE_RATE, abs=1)
