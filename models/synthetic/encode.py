"""Writing an mp4: H.264 by libx264, AAC beside it. One thread and bit-exact flags, so equal input gives equal bytes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from models.synthetic.sampling import Scene
from models.synthetic.sound import SAMPLE_RATE

_AUDIO_BIT_RATE = 32_000  # bits per second


def write_mp4(path: Path, scene: Scene, frames: NDArray[np.uint8], sound: NDArray[np.float32] | None) -> None:
    """frames: [T, H, W, 3] RGB with even sides; sound: [samples] mono at SAMPLE_RATE, or None for no audio stream.

    Raises OSError where the file cannot be written.
    """
    options = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if scene.index_first else {})
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", rate=scene.fps, options=_x264_options(scene))
        video.width, video.height, video.pix_fmt = scene.width, scene.height, "yuv420p"
        video.codec_context.thread_count = 1
        audio = None
        if sound is not None:
            audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options={"flags": "+bitexact"})
            audio.bit_rate = _AUDIO_BIT_RATE
        for picture in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            block = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            block.sample_rate, block.time_base, block.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), 0
            container.mux(audio.encode(block))
            container.mux(audio.encode(None))


def _x264_options(scene: Scene) -> dict[str, str]:
    return {
        "preset": "superfast",
        "crf": "23",
        "g": str(scene.gop),
        "bf": str(scene.b_frames),
        "flags": "+bitexact",
        "x264-params": "threads=1:sliced-threads=0",
    }
