"""What was published, what was seen, and whether every promise held. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Input = tuple[str, int]  # (video_id, revision)


@dataclass(frozen=True, slots=True)
class Source:
    """One record of the source topic."""

    partition: int
    offset: int
    input: Input | None  # None: a value that is no event


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything a scenario reads back from Postgres and Kafka when it has settled."""

    source: Sequence[Source]
    decisions: Sequence[Input]  # a row each, trigger 'publish'
    dead_letters: Sequence[Input]  # a row each
    dead_letters_unparsed: int
    labels: Mapping[str, set[str]]  # video_id -> distinct "label_revision/ce_id" announced
    label_revisions: Mapping[str, int]  # video_id -> label_revision in force
    committed: Mapping[int, int]  # partition -> committed offset (next to read)
    in_outbox: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """0 everywhere, or the names of what broke the promise."""

    lost: list[str] = field(default_factory=list)
    double_effects: list[str] = field(default_factory=list)
    wrong_dead_letters: list[str] = field(default_factory=list)
    unannounced: list[str] = field(default_factory=list)
    committed_past_durable: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not any(
            (self.lost, self.double_effects, self.wrong_dead_letters, self.unannounced, self.committed_past_durable)
        )

    def counts(self) -> dict[str, int]:
        return {
            "lost": len(self.lost),
            "double_effects": len(self.double_effects),
            "wrong_dead_letters": len(self.wrong_dead_letters),
            "unannounced": len(self.unannounced),
            "committed_past_durable": len(self.committed_past_durable),
        }


def judge(seen: Seen, poison: set[Input], unparsed: int = 0) -> Verdict:
    """Every input ends as exactly one decision or one dead letter; every label in force was announced exactly once;
    committed offset <= durable prefix.

    poison: inputs that must end as dead letters; unparsed: how many values without an identity must.
    """
    decisions, dead = Counter(seen.decisions), Counter(seen.dead_letters)
    inputs = {record.input for record in seen.source if record.input is not None}
    lost = [_name(item) for item in inputs if not decisions[item] and not dead[item]]
    double = [_name(item) for item in inputs if decisions[item] + dead[item] > 1]
    wrong = [_name(item) for item in dead if item not in poison] + [_name(i) for i in poison if decisions[i]]
    if seen.dead_letters_unparsed != unparsed:
        wrong.append(f"{seen.dead_letters_unparsed} unparsed dead letters instead of {unparsed}")
    double += [
        f"{video_id}: {sorted(events)}"
        for video_id, events in seen.labels.items()
        if len(events) != len({event.split("/")[0] for event in events})
    ]
    unannounced = [
        video_id
        for video_id, revision in seen.label_revisions.items()
        if not any(event.startswith(f"{revision}/") for event in seen.labels.get(video_id, set()))
    ]
    if seen.in_outbox:
        unannounced.append(f"{seen.in_outbox} rows left in the outbox")
    durable = {item for item in inputs if decisions[item] or dead[item]}
    past = [
        f"partition {record.partition} offset {record.offset}"
        for record in seen.source
        if record.input is not None
        and record.offset < seen.committed.get(record.partition, 0)
        and record.input not in durable
    ]
    return Verdict(sorted(lost), sorted(double), sorted(wrong), sorted(unannounced), past)


def misnumbered(made: Mapping[str, Sequence[int]], announced: Mapping[str, set[str]]) -> list[str]:
    """Videos whose decisions in force, or what was announced of them, are not numbered 1, 2, 3 and so on, each once.

    made: the label_revisions of their decisions; announced: distinct "label_revision/ce_id", as in Seen.
    """
    return [
        f"{video_id}: {sorted(revisions)} made, {sorted(announced.get(video_id, ()))} announced"
        for video_id, revisions in made.items()
        if not (
            sorted(revisions)
            == sorted(int(event.split("/")[0]) for event in announced.get(video_id, ()))
            == list(range(1, len(revisions) + 1))
        )
    ]


def _name(item: Input) -> str:
    return f"{item[0]} revision {item[1]}"
