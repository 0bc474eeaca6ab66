"""`python -m tests.faults.worker FD`: imports the jobs once, then forks a worker for each order on the socket.

A fork starts a job in milliseconds, where an interpreter of its own needs seconds for its imports alone. Nothing else
is shared: it forks before any thread, connection or setting exists. The workers die with this process, and it with the
harness.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from schemas.errors import UserError
from stream import boundaries
from stream.serve import serve
from stream.settings import load_settings

_PR_SET_PDEATHSIG = 1
_PRELOADED = (
    "stream.relay.job",
    "stream.consumer.runtime",
    "stream.classify.committer",
    "stream.classify.stub",
    "stream.store.rescore",
    "stream.signals.job",
)


@dataclass(frozen=True, slots=True)
class Order:
    """One worker. Its log file gets all it says; its tally file, at a clean end, how often each boundary was reached.

    kill_at: it sends itself SIGKILL the nth time it reaches that boundary. bad_decoders: decode children that misbehave
    as the file says (tests.support.bad_decoders).
    """

    job: str
    environment: dict[str, str]
    log: str
    tally: str
    kill_at: str | None = None
    nth: int = 1
    bad_decoders: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def nurse(connection: socket.socket) -> Order | None:
    """Fork a worker for each order and reap those that are asked for, until the harness hangs up.

    Returns once in each worker, with its order; in this process None. Answers are JSON: a pid, or an exit code.
    """
    nursery = os.getpid()
    with connection, connection.makefile("rw") as line:
        for request in line:
            asked: dict[str, Any] = json.loads(request)
            if (pid := asked.get("reap")) is not None:
                answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            else:
                answer = os.fork()
                if answer == 0:
                    _die_with(nursery)
                    return Order(**asked)
            line.write(f"{json.dumps(answer)}\n")
            line.flush()
    return None


def work(order: Order) -> int:
    """Serve the job as `reelsort serve` does. Returns its exit code."""
    os.setsid()
    with Path(order.log).open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.clear()
    os.environ.update(order.environment)
    seen: Counter[str] = Counter()
    boundaries.reached = partial(_reached, seen, threading.Lock(), order)
    if order.bad_decoders:
        _install_bad_decoders()
    try:
        code = serve([order.job], load_settings())
    except UserError as error:
        print(error.message)  # noqa: T201 - into its log
        return int(error.code)
    Path(order.tally).write_text(json.dumps(seen))
    return code


def _reached(seen: Counter[str], counting: threading.Lock, order: Order, name: str) -> None:
    with counting:
        seen[name] += 1
        count = seen[name]
    if name == order.kill_at and count == order.nth:
        os.kill(os.getpid(), signal.SIGKILL)


def _install_bad_decoders() -> None:
    from stream.classify import analyzer
    from stream.media.decode_pool import DecodePool
    from tests.support.bad_decoders import BAD_CHILD

    pool: Callable[..., DecodePool] = partial(DecodePool, command=BAD_CHILD)
    analyzer.DecodePool = pool  # type: ignore[assignment, misc]  # the seam: the children's command


def _die_with(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(1)


def main() -> int:
    for module in _PRELOADED:
        importlib.import_module(module)
    assert "onnxruntime" not in sys.modules, "it starts a thread when it is imported, which no fork survives"
    order = nurse(socket.socket(fileno=int(sys.argv[1])))
    return 0 if order is None else work(order)


if __name__ == "__main__":
    sys.exit(main())
