"""Ports that are taken."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def taken(ports: Iterable[int]) -> Iterator[None]:
    """Listen on loopback ports."""
    with ExitStack() as open_sockets:
        for port in ports:
            open_sockets.enter_context(socket.create_server(("127.0.0.1", port)))
        yield
