"""A web server, its certificate and a proxy, all on loopback, for what fetching must get right."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme

BODY = bytes(range(256)) * 40


class _Handler(BaseHTTPRequestHandler):
    """The path says what to answer."""

    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.requests.append((self.headers["Host"], self.path))
        action, _, argument = parts.path.strip("/").partition("/")
        getattr(self, f"_{action}")(argument, parse_qs(parts.query))

    def log_message(self, *_: Any) -> None:
        """Tests read `requests`."""

    def _start(self, status: int, **headers: str | int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def _ok(self, _: str, __: dict[str, list[str]]) -> None:
        self._start(200, Content_Length=len(BODY))
        self.wfile.write(BODY)

    def _status(self, status: str, _: dict[str, list[str]]) -> None:
        self._start(int(status), Content_Length=0)

    def _redirect(self, _: str, query: dict[str, list[str]]) -> None:
        self._start(302, Location=query["to"][0], Content_Length=0)

    def _hops(self, left: str, _: dict[str, list[str]]) -> None:
        self._start(302, Location=f"/hops/{int(left) - 1}" if int(left) > 1 else "/ok", Content_Length=0)

    def _claim(self, size: str, _: dict[str, list[str]]) -> None:
        self._start(200, Content_Length=size)
        self.wfile.write(BODY)
        self.close_connection = True

    def _endless(self, _: str, __: dict[str, list[str]]) -> None:
        self._start(200, Transfer_Encoding="chunked")
        self._until_hung_up(b"%x\r\n%s\r\n" % (len(BODY), BODY), 0.0)

    def _trickle(self, _: str, __: dict[str, list[str]]) -> None:
        self._start(200, Content_Length=10**6)
        self._until_hung_up(b"x", 0.05)

    def _trickled_headers(self, _: str, __: dict[str, list[str]]) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        self._until_hung_up(b"x", 0.05)

    def _until_hung_up(self, data: bytes, pause: float) -> None:
        self.close_connection = True
        while not self.server.closing.wait(pause):
            try:
                self.wfile.write(data)
                self.wfile.flush()
            except OSError:
                return


@dataclass
class Certificates:
    """An authority that only these tests trust, and a certificate of it for example.com and the names below."""

    authority: trustme.CA = field(default_factory=trustme.CA)

    def server(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


class WebServer(ThreadingHTTPServer):
    """Answers on a free loopback port; `requests` holds (Host, path) of each."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, str]] = []
        self.closing = threading.Event()
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is what many tests are about."""


@contextmanager
def web_server(tls: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    with WebServer(tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


@contextmanager
def connect_proxy(port: int) -> Iterator[tuple[int, list[str]]]:
    """A proxy that tunnels every CONNECT to the loopback `port`; yields its own port and the lines it was sent."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client, socket.create_connection(("127.0.0.1", port)) as server:
                    head = b""
                    while not head.endswith(b"\r\n\r\n"):
                        head += client.recv(4096)
                    asked.append(head.split(b"\r\n")[0].decode())
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    _tunnel(client, server)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1]), asked
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def _tunnel(one: socket.socket, other: socket.socket) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for source in select.select([one, other], [], [], 1.0)[0]:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)
