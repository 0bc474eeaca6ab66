"""Actions, as hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

from schemas.events import EngagementAction
from tests.support.engagement import KINDS, action_of


def actions(max_revision: int = 2) -> st.SearchStrategy[EngagementAction]:
    """Of one video."""
    return st.builds(
        action_of,
        st.integers(0, 100_000),
        revision=st.integers(0, max_revision),
        kind=st.sampled_from(KINDS),
        watched_s=st.none() | st.floats(0, 100),
        duration_s=st.none() | st.floats(1, 100),
        comment_text=st.none() | st.sampled_from(["好看", "讲得清楚", "video", ""]),
        viewer_vertical=st.none() | st.sampled_from(["food", "pets", "cars"]),
    )
