"""Connections that cannot lead inside: the address judged is the one connected to. One deadline ends every wait."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from stream.classify.analyse import PoisonError
from stream.media.addresses import Address, is_literal, is_public, judged, system_resolver
from stream.media.resolve import DEFAULT_PORTS, HttpTarget

SocketOptions = Iterable[httpcore.SOCKET_OPTION]


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    return httpx.create_ssl_context()


@dataclass(frozen=True)
class NetworkPolicy:
    """Who may be connected to. A parameter and no setting: nobody turns the guard off by an environment variable."""

    resolver: Callable[[str, int], Sequence[str]] = system_resolver
    is_allowed: Callable[[Address], bool] = is_public
    any_port: bool = False
    tls: Callable[[], ssl.SSLContext] = field(default=_trusted)

    def check(self, target: HttpTarget) -> None:
        """What can be judged before any name is resolved. Raises PoisonError."""
        if not self.any_port and target.port != DEFAULT_PORTS[target.scheme]:
            raise PoisonError("port_refused", f"{target.host} is asked at port {target.port}")
        if is_literal(target.host):
            judged(target.host, [target.host], self.is_allowed)


PUBLIC_INTERNET = NetworkPolicy()


def connections(policy: NetworkPolicy, deadline: float, proxy: str | None) -> httpcore.ConnectionPool:
    """Connections for one fetch, until `deadline` (time.monotonic()).

    Behind a proxy it is the proxy that resolves names and must judge their addresses; hosts, literal addresses, schemes
    and ports are still judged here.
    """
    if proxy is not None:
        return httpcore.HTTPProxy(proxy, ssl_context=policy.tls(), network_backend=_Backend(deadline, None))
    return httpcore.ConnectionPool(ssl_context=policy.tls(), network_backend=_Backend(deadline, policy))


class _Backend(httpcore.NetworkBackend):
    """Resolves, judges and connects in one step. Without a policy (to a proxy of the operator's) it judges nothing."""

    def __init__(self, deadline: float, policy: NetworkPolicy | None) -> None:
        self._sockets = httpcore.SyncBackend()
        self._deadline = deadline
        self._policy = policy

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.NetworkStream:
        names = [host]
        if self._policy is not None:
            found = judged(host, self._policy.resolver(host, port), self._policy.is_allowed)
            names = [str(address) for address in found]
        for name in names[:-1]:
            try:
                return self._connect(name, port, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(names[-1], port, socket_options)

    def _connect(self, name: str, port: int, options: SocketOptions | None) -> httpcore.NetworkStream:
        timeout = _left(self._deadline, httpcore.ConnectTimeout)
        stream = self._sockets.connect_tcp(name, port, timeout=timeout, socket_options=options)
        return _Stream(stream, self._deadline)


class _Stream(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline, so that a trickle of bytes does not outlast it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, error: type[httpcore.TimeoutException]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise error("the time for this fetch is over")
    return left
