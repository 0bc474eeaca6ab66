"""The job `relay`: all shard groups of this process, a thread each, and the count of what waits."""

from __future__ import annotations

import threading
from collections.abc import Callable

from stream.kafka import topic_names
from stream.relay.group import ShardGroup
from stream.relay.monitor import Monitor
from stream.settings import Settings
from stream.telemetry.health import Health

NAME = "relay"


def run(settings: Settings, stop: threading.Event, health: Health) -> None:
    """Until `stop` is set; a batch in hand is finished first. Raises what any group could not mend by itself."""
    names = topic_names(settings)
    groups = [ShardGroup(settings, group, names, health) for group in range(settings.relay.shards)]
    ending = threading.Event()
    failures: list[BaseException] = []

    def guarded(work: Callable[[threading.Event], None]) -> None:
        try:
            work(ending)
        except BaseException as error:  # re-raised by the main thread below
            failures.append(error)
            ending.set()

    threads = [
        threading.Thread(target=guarded, args=(work,), name=name)
        for name, work in [("outbox monitor", Monitor(settings).run)]
        + [(f"relay-{number}", group.run) for number, group in enumerate(groups)]
    ]
    for thread in threads:
        thread.start()
    try:
        while not (stop.wait(0.1) or ending.is_set()):
            pass
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
