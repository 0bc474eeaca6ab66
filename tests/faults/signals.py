"""Videos, profiles and snapshots in any order, what they must end as, and whether what was committed is stored."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from schemas.events import AuthorProfile, EngagementSnapshot, Event, VideoPublished
from schemas.topics import AUTHOR_PROFILES, ENGAGEMENT_SNAPSHOTS
from schemas.wire import decode_event
from stream.classify.stub import LEVEL1
from stream.store.signals import PROFILE_WINDOW
from tests.faults.field import EPOCH, Field, wait_for
from tests.support.expected import IN_FORCE, Published, final, published

TOPICS = (AUTHOR_PROFILES, ENGAGEMENT_SNAPSHOTS)
VERSIONS = 12  # of a profile or a snapshot: fewer than the store keeps
AGAIN = 10  # videos of earlier rounds that are heard of again


class Signals:
    """What was sent to one field. A version of a profile or snapshot says the same however often it is sent."""

    def __init__(self, field: Field, rng: Random) -> None:
        self._field = field
        self._rng = rng
        self._videos: dict[str, VideoPublished] = {}
        self._late: list[VideoPublished] = []
        self._profiles: dict[tuple[str, int], AuthorProfile] = {}
        self._snapshots: dict[tuple[str, int], EngagementSnapshot] = {}

    def send(self, count: int) -> None:
        """Signals of `count` new videos and some older ones, and half of the new videos with those held back before:
        one to three times each, in any order."""
        rng, first = self._rng, len(self._videos)
        new = [self._field.event(number, f"file:///{number}.mp4") for number in range(first, first + count)]
        heard_of = new + rng.sample(list(self._videos.values()), min(AGAIN, first))
        self._videos |= {each.video_id: each for each in new}
        early, late = new[::2], new[1::2]
        arrivals: list[Event] = [*early, *self._late]
        self._late = late
        for each in heard_of:
            arrivals += [self._profile(each) for _ in range(rng.randint(0, 3))]
            arrivals += [self._snapshot(each) for _ in range(rng.randint(0, 3))]
        self._send(arrivals)

    def send_rest(self) -> None:
        """The videos that were held back."""
        late: list[Event] = [*self._late]
        self._late = []
        self._send(late)

    def await_rest(self, timeout: float) -> float:
        """Seconds until all that was sent is handled, announced and committed."""
        sent = len(self._videos) - len(self._late)
        return wait_for(
            lambda: not any(self._uncommitted().values()) and self._field.settled(sent),
            timeout,
            lambda: f"{self._field.handled()} of {sent} decided, {self._uncommitted()} uncommitted: {self._field.logs}",
        )

    def committed_past_durable(self) -> list[str]:
        """Records whose offset is committed and whose content is not stored. Offsets are read before the tables: what
        they pass over must be there by then, whoever is at work."""
        committed = {topic: self._field.committed(topic, "rescore") for topic in TOPICS}
        profiles = set(self._field.query("SELECT author_id, seq FROM author_profiles"))
        stored = self._field.query("SELECT video_id, revision, plays, seq FROM engagement_snapshots")
        newest = {(video_id, revision): rest for video_id, revision, *rest in stored}
        past = []
        for topic in TOPICS:
            for message in self._field.read_topic(topic):
                partition, offset = message.partition() or 0, message.offset() or 0
                if offset >= committed[topic].get(partition, 0):
                    continue
                event = decode_event(topic, message.key(), message.value(), message.headers() or ())
                if isinstance(event, AuthorProfile):
                    durable = (event.author_id, event.seq) in profiles
                else:
                    assert isinstance(event, EngagementSnapshot)
                    durable = newest.get((event.video_id, event.revision), [-1, -1]) >= [event.plays, event.seq]
                if not durable:
                    past.append(f"{topic} partition {partition} offset {offset}")
        return past

    def differing(self) -> list[str]:
        """Videos whose label is not what the newest evidence of all says, worked out without the store."""
        in_force = {video_id: Published(*rest) for video_id, *rest in self._field.query(IN_FORCE)}
        return [
            f"{each.video_id}: {in_force.get(each.video_id)} instead of {wanted}"
            for each in self._videos.values()
            if in_force.get(each.video_id) != (wanted := self._expected(each))
        ]

    def counts(self) -> dict[str, int]:
        return {"profiles": len(self._profiles), "snapshots": len(self._snapshots)}

    def _expected(self, video: VideoPublished) -> Published:
        profiles = [each for (author_id, _), each in self._profiles.items() if author_id == video.author_id]
        snapshots = [each for (video_id, _), each in self._snapshots.items() if video_id == video.video_id]
        return published(final(video, profiles, snapshots))

    def _profile(self, video: VideoPublished) -> AuthorProfile:
        """Of about the video's time, or just so young that it counts for it, or does not."""
        rng, seq = self._rng, self._rng.randrange(VERSIONS)
        made = AuthorProfile(
            author_id=video.author_id,
            seq=seq,
            main_vertical=rng.choice(LEVEL1),
            verified=rng.random() < 0.5,
            updated_at=EPOCH + rng.choice((timedelta(0), PROFILE_WINDOW)) + timedelta(minutes=rng.randint(-10, 10)),
        )
        return self._profiles.setdefault((made.author_id, seq), made)

    def _snapshot(self, video: VideoPublished) -> EngagementSnapshot:
        rng, seq = self._rng, self._rng.randrange(VERSIONS)
        made = EngagementSnapshot(
            video_id=video.video_id,
            seq=seq,
            plays=rng.choice((10, 50, 400, 5000)),
            completion_rate=rng.random(),
            audience={rng.choice(LEVEL1): 1.0},
            window_end=EPOCH,
        )
        return self._snapshots.setdefault((made.video_id, seq), made)

    def _send(self, arrivals: list[Event]) -> None:
        repeated = [each for each in arrivals for _ in range(self._rng.choice((1, 1, 2, 3)))]
        self._rng.shuffle(repeated)
        self._field.send_events(repeated)

    def _uncommitted(self) -> dict[str, int]:
        return {topic: self._field.uncommitted(topic, "rescore") for topic in TOPICS}
