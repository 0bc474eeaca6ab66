"""`reelsort classify` as a person runs it, on real files and an untrained bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle
from stream.cli.main import run
from tests.support.clips import write_clip


@pytest.fixture(autouse=True)
def pinned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No timing, nothing remembered in the user's own folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in (("RUNTIME", "onnxruntime"), ("PRECISION", "fp32"), ("VISION_BATCH", "8"), ("THREADS", "1")):
        monkeypatch.setenv(f"REELSORT_INFERENCE__{name}", value)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "one clip.mp4", seconds=1.0)
    write_clip(folder / "第二.mp4", seconds=0.5, audio=False)
    return folder


@pytest.fixture(scope="module")
def with_a_bad_one(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    for clip in clips.iterdir():
        (folder / clip.name).write_bytes(clip.read_bytes())
    (folder / "a text.mp4").write_text("no video")
    return folder


def classify(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = run(["classify", *map(str, arguments), "--format", "json"])
    return code, json.loads(capsys.readouterr().out)


def test_one_file_is_labelled_with_all_that_led_to_it(
    capsys: pytest.CaptureFixture[str], tiny: Path, clips: Path
) -> None:
    code, report = classify(capsys, clips / "one clip.mp4", "--bundle", tiny, "--title", "红烧肉", "--tag", "美食")
    bundle = Bundle.load(tiny)
    assert code == 0
    assert (report["model_id"], report["failed"]) == (bundle.model_id, 0)
    (file,) = report["files"]
    assert file["title"] == "红烧肉"
    assert file["level2"]["id"] in bundle.taxonomy.level2_index
    assert file["top_k"][0] == file["level2"]
    assert file["route"] in {"accept", "accept_level1", "review"}
    assert len(file["frames_s"]) == bundle.manifest.frame_plan.count
    assert file["seconds"].keys() == {"fetch", "decode", "queue", "prepare", "vision", "fusion"}


def test_a_title_moves_the_answer(capsys: pytest.CaptureFixture[str], tiny: Path, clips: Path) -> None:
    path = clips / "one clip.mp4"
    answers = {
        classify(capsys, path, "--bundle", tiny, "--title", title)[1]["files"][0]["level2"]["probability"]
        for title in ("家常菜", "战术射击")
    }
    assert len(answers) == 2


def test_a_bad_file_is_named_and_the_others_are_labelled(
    capsys: pytest.CaptureFixture[str], tiny: Path, with_a_bad_one: Path
) -> None:
    code, report = classify(capsys, with_a_bad_one, "--bundle", tiny)
    assert code == 3
    assert report["failed"] == 1
    by_name = {Path(file["file"]).name: file for file in report["files"]}
    assert by_name["a text.mp4"]["error"]["code"] == "not_media"
    assert all("level2" in by_name[name] for name in ("one clip.mp4", "第二.mp4"))


def test_the_table_shows_names_routes_and_failures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny: Path, with_a_bad_one: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["classify", str(with_a_bad_one), "--bundle", str(tiny)]) == 3
    shown = capsys.readouterr().out
    assert "one clip.mp4" in shown
    assert "not_media" in shown
    assert "Traceback" not in shown


def test_one_file_is_shown_with_its_runners_up_and_frames(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny: Path, clips: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["classify", str(clips / "第二.mp4"), "--bundle", str(tiny)]) == 0
    shown = capsys.readouterr().out
    assert "frames at" in shown
    assert "milliseconds" in shown


def test_a_manifest_gives_the_words_and_alone_it_gives_the_files(
    capsys: pytest.CaptureFixture[str], tiny: Path, clips: Path
) -> None:
    row = {
        "video_id": "v1", "author_id": "a", "path": "one clip.mp4", "split": "test",
        "published_at": "2026-01-01T00:00:00Z", "title": "跳舞",
    }  # fmt: skip
    manifest = clips / "manifest.jsonl"
    manifest.write_text(json.dumps(row) + "\n", encoding="utf-8")
    _, alone = classify(capsys, "--manifest", manifest, "--bundle", tiny)
    assert [(file["video_id"], file["title"]) for file in alone["files"]] == [("v1", "跳舞")]
    _, named = classify(capsys, clips / "one clip.mp4", clips / "第二.mp4", "--manifest", manifest, "--bundle", tiny)
    assert [file["title"] for file in named["files"]] == ["跳舞", "第二"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no file was named"),
        (["/no/such.mp4"], "there is no file /no/such.mp4"),
        (["{clips}", "--title", "both"], "one title cannot describe 2 videos"),
        (["{clips}", "--bundle", "/no/such"], "there is no bundle at /no/such"),
        (["--manifest", "/no/such.jsonl"], "/no/such.jsonl cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_a_remedy(
    capsys: pytest.CaptureFixture[str], clips: Path, arguments: list[str], message: str
) -> None:
    code = run(["classify", *(argument.replace("{clips}", str(clips)) for argument in arguments)])
    captured = capsys.readouterr()
    assert code == 3
    assert captured.out == ""
    assert message in captured.err
    assert "fix:" in captured.err
