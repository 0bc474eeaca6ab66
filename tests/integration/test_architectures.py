"""Every architecture is served: by the classify job on a real Kafka and Postgres, and by `reelsort classify FILE`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from models.architectures import names
from models.bundle import Bundle
from stream.classify import job
from stream.cli.main import run as reelsort
from stream.settings import InferenceSettings, Settings
from stream.telemetry.health import Health
from tests.integration.service import Service, video
from tests.support.clips import write_clip

pytestmark = pytest.mark.stack

PINNED = {"runtime": "onnxruntime", "precision": "fp32", "vision_batch": 4, "threads": 1}
WORDS = {"one": "红烧肉的家常做法", "two": "街舞"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real videos, the second without sound."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "one.mp4", seconds=1.0)
    write_clip(folder / "two.mp4", seconds=0.5, audio=False)
    return folder


@pytest.mark.parametrize("name", names())
def test_an_architecture_is_served_by_the_job_and_by_the_command(
    name: str,
    preset_of: Callable[[str], Path],
    clips: Path,
    settings: Settings,
    topics: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = Bundle.load(preset_of(name))
    for key, value in PINNED.items():
        monkeypatch.setenv(f"REELSORT_INFERENCE__{key.upper()}", str(value))
    by_command = {}
    for title, words in WORDS.items():
        command = ["classify", str(clips / f"{title}.mp4"), "--title", words, "--bundle", str(bundle.folder)]
        assert reelsort([*command, "--format", "json"]) == 0
        by_command[title] = json.loads(capsys.readouterr().out)["files"][0]

    decided = serve(serving(settings, bundle, clips), clips)
    for number, title in enumerate(WORDS):
        model_id, level1, level2, confidence = decided[f"v{number:05d}"]
        assert model_id == bundle.model_id
        assert (level1, level2) == tuple(by_command[title][level]["id"] for level in ("level1", "level2"))
        assert confidence == pytest.approx(by_command[title]["confidence"], abs=1e-4)


def serve(settings: Settings, clips: Path) -> dict[str, tuple[str, str, str, float]]:
    """Publish the clips, run the job until both are decided, and read back what it decided."""
    service = Service(settings)
    service.send(
        *[
            video(number, media_uri=(clips / f"{name}.mp4").as_uri(), title=words, tags=())
            for number, (name, words) in enumerate(WORDS.items())
        ]
    )
    stop = threading.Event()
    thread = threading.Thread(target=job.run, args=(settings, stop, Health(60.0)))
    thread.start()
    try:
        service.wait_for(len(WORDS), "decisions")
    finally:
        stop.set()
        thread.join(40)
    rows = service.rows("SELECT video_id, model_id, level1, level2, confidence FROM decisions")
    service.connection.close()
    return {row[0]: row[1:] for row in rows}


def serving(settings: Settings, bundle: Bundle, root: Path) -> Settings:
    return settings.model_copy(
        update={
            "inference": InferenceSettings(bundle=bundle.folder, **PINNED),
            "media": settings.media.model_copy(update={"file_root": root}),
            "classify": settings.classify.model_copy(update={"commit_linger_ms": 10.0}),
        }
    )
