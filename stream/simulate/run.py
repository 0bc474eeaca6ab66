"""Sending what the platform would send."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from threading import Event

from models.synthetic.audience import design_of
from schemas.events import EngagementAction
from schemas.manifest import ManifestRow
from schemas.topics import AUTHOR_PROFILES, ENGAGEMENT_ACTIONS, TopicNames
from schemas.wire import encode_event
from stream.kafka import require_topics
from stream.sender import Sender, paced
from stream.settings import Settings
from stream.simulate.events import Audience, actions_of, profiles_of

SOURCE = "/reelsort/simulate"


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """rate: actions a second, as fast as it goes where None. duration_s: actions are sent for so long, all where None.
    now: an action occurs when it is sent, instead of hours and days after its video's publishing."""

    audience: Audience = field(default_factory=Audience)
    rate: float | None = None
    duration_s: float | None = None
    now: bool = False


@dataclass(frozen=True, slots=True)
class Simulated:
    """What the broker acknowledged, and how long it took."""

    profiles: int
    actions: int
    plays: int
    seconds: float


def simulate(
    settings: Settings,
    rows: Sequence[ManifestRow],
    options: SimulationOptions,
    *,
    on_send: Callable[[EngagementAction], None] = lambda _: None,
    stop: Event | None = None,
) -> Simulated:
    """Send the profiles of the videos' authors, then what viewers do, and wait until the broker has it all.

    on_send is called before each action is handed to the client. `stop` ends it early; what was sent is still waited
    for. Raises UserError where a video is not the generator's, a topic is missing, the broker does not answer, or an
    event was not acknowledged.
    """
    names = TopicNames(settings.kafka.topics)
    profile_topic, action_topic = names.actual(AUTHOR_PROFILES), names.actual(ENGAGEMENT_ACTIONS)
    for row in rows:  # before anything is sent
        design_of(row)
    profiles = profiles_of(rows)
    require_topics(settings, [profile_topic, action_topic])
    sender = Sender(
        settings,
        "simulate",
        "when the broker is well, clear the topic or take new videos: an action sent twice counts twice",
    )
    # Before the first action can be sent, those of many videos are drawn: no clock runs meanwhile.
    drawing = actions_of(rows, options.audience)
    actions = chain([*islice(drawing, 1)], drawing)
    begun = time.monotonic()
    for profile in profiles:
        ce_id = f"{profile.author_id}/{profile.seq}"
        sender.send(profile_topic, encode_event(profile, ce_id=ce_id, source=SOURCE, time=profile.updated_at))
    actions_begun = time.monotonic()

    def is_over() -> bool:
        late = options.duration_s is not None and time.monotonic() - actions_begun >= options.duration_s
        return late or (stop is not None and stop.is_set())

    sent = plays = 0
    for drawn in paced(actions, options.rate, sender.serve, is_over):
        action = drawn.model_copy(update={"occurred_at": datetime.now(UTC)}) if options.now else drawn
        on_send(action)
        sender.send(action_topic, encode_event(action, ce_id=action.action_id, source=SOURCE, time=action.occurred_at))
        sent += 1
        plays += action.kind == "play"
    sender.finish()
    return Simulated(len(profiles), sent, plays, time.monotonic() - begun)
