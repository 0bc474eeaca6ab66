"""A member to be killed: `victim BOOTSTRAP PROTOCOL TOPIC N` finishes the first N records of each partition."""

from __future__ import annotations

import sys
import threading
from typing import cast

from tests.stream.consumer.harness import Group, Hand, Member, Protocol, eventually


def main(bootstrap: str, protocol: str, topic: str, count: str) -> None:
    group = Group(bootstrap, cast(Protocol, protocol), topic=topic)
    member = Member(group, Hand(finish=lambda record: record.offset < int(count)))
    eventually(lambda: len(member.job.seen) == 40, "all records arrive")
    sys.stdout.write("40 read\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
