"""`bench decode`: every contender gives the same pictures, and the report says what the turns say."""

from __future__ import annotations

from stream.bench.decode import report, run
from stream.bench.decode_clips import BenchClip
from stream.bench.decode_turns import OURS, THUMBNAIL, TOWER


def turns(**seconds: list[float]) -> dict[str, list[dict[str, float]]]:
    return {name: [{"cpu_s": s, "wall_s": 2 * s} for s in times] for name, times in seconds.items()}


def test_the_ratio_is_to_the_better_peer_best_turn_to_best_turn() -> None:
    tower = turns(**{OURS: [1.0, 2.0, 1.0], "slow": [9.0, 9.0, 9.0], "fast": [2.0, 3.0, 4.0]})
    thumbnail = turns(**{OURS: [1.0], "slow": [0.5], "fast": [2.0]})
    same = {OURS: True, "slow": True, "fast": False}
    found = report({"pictures": {str(TOWER): tower, str(THUMBNAIL): thumbnail}, "same_pictures": same})
    assert found["decode_and_resize"]["best_peer"] == "fast"
    assert found["decode_and_resize"]["ratio_to_best_peer"] == {
        "best": 2.0,
        "median": 2.0,
        "least": 1.5,
        "most": 4.0,
    }
    assert found["decode"]["best_peer"] == "slow"
    assert found["decode"]["ratio_to_best_peer"]["best"] == 0.5
    row = {row["name"]: row for row in found["decode_and_resize"]["contenders"]}
    assert row["fast"] == {"name": "fast", "cpu_ms": 2000.0, "wall_ms": 4000.0, "same_pictures": False}


def test_all_decoders_find_the_same_pictures() -> None:
    clips = (BenchClip(160, 96, bframes=0, seconds=2.0), BenchClip(160, 96, bframes=3, seconds=2.0))
    result = run(clips, frames=4, repeats=1)
    assert "torchcodec" in result["versions"]
    assert [entry["clip"]["bframes"] for entry in result["clips"]] == [0, 3]
    for entry in result["clips"]:
        contenders = entry["decode_and_resize"]["contenders"]
        assert {row["name"] for row in contenders} >= {OURS, "PyAV sequential"}
        assert all(row["same_pictures"] for row in contenders)
    assert set(result["ratio_to_best_peer"]) == {"without_bframes", "with_bframes", "least"}
