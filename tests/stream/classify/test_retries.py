"""The wait before a retry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.classify.retries import back_off_s


@given(st.text(max_size=20), st.integers(1, 1000), st.floats(0.01, 100), st.floats(100, 5000))
def test_it_doubles_up_to_a_cap_within_its_upper_half(key: str, tries: int, base: float, cap: float) -> None:
    full = min(cap, base * 2.0 ** min(tries - 1, 32))
    assert full / 2 <= back_off_s(key, tries, base, cap) <= full
    assert back_off_s(key, tries, base, cap) == back_off_s(key, tries, base, cap)


def test_videos_that_failed_together_come_back_apart() -> None:
    waits = sorted(back_off_s(f"v{number}", 1, 10.0, 900.0) for number in range(1000))
    assert waits[100] < 6.0 < 9.0 < waits[900]
