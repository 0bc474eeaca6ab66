"""Sections of a card that come, change and go; the rest stays as it was, to the letter."""

from __future__ import annotations

import pytest

from models.bundle import default_bundle
from models.decision.policy import PolicyFile
from models.training.card import recalibrated, with_section, without_section
from models.training.card_signals import with_signals

CARD = "# name\n\nwhat it is\n\n## Limits\n\n- some\n"
UNCALIBRATED = "# name\n\n## When it publishes\n\n**Uncalibrated.** By hand.\n\n## Limits\n\n- some\n"


@pytest.mark.parametrize("card", [CARD, "# name\n\nno more than that\n"])
def test_a_section_comes_before_the_limits_changes_in_its_place_and_goes(card: str) -> None:
    with_one = with_section(card, "## New", "first")
    assert "## New\n\nfirst" in with_one.partition("## Limits")[0]
    two = with_section(with_section(with_one, "## Newer", "other"), "## New", "second")
    assert two.index("## New\n\nsecond\n\n## Newer\n\nother") > 0
    assert "first" not in two
    assert without_section(without_section(two, "## New"), "## Newer") == card
    assert without_section(card, "## New") == card


def test_the_demo_bundles_card_says_what_its_policy_does() -> None:
    card = (default_bundle() / "CARD.md").read_text(encoding="utf-8")
    policy = PolicyFile.model_validate_json((default_bundle() / "policy.json").read_bytes())
    assert with_signals(card, policy) == card
    again = recalibrated(card, policy)
    table = "| level 2 | 4 | 17 | 27 |\n| level 1 | 4 | 8 | 0 |\n"
    assert f"{table}\nCalibrated again" in again
    assert "| route, test split |" not in again


def test_a_policy_that_was_set_by_hand_is_no_longer_spoken_of_once_it_is_measured() -> None:
    policy = PolicyFile.model_validate_json((default_bundle() / "policy.json").read_bytes())
    again = recalibrated(UNCALIBRATED, policy)
    assert "Uncalibrated" not in again
    assert "at most 10% wrong at 95% confidence" in again
    assert again.endswith("\n\n## Limits\n\n- some\n")
