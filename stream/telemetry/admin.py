"""The admin port: /livez, /readyz, /metrics."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from schemas.errors import UserError
from stream.settings import AdminSettings
from stream.telemetry.health import Health

_log = logging.getLogger(__name__)


@contextmanager
def serving(settings: AdminSettings, health: Health) -> Iterator[int]:
    """Answer while the block runs; yields the port. Raises UserError where the address cannot be had."""
    try:
        server = ThreadingHTTPServer((settings.host, settings.port), _handler(health))
    except OSError as error:
        raise UserError(
            f"the admin port {settings.host}:{settings.port} cannot be opened: {error.strerror}",
            "set REELSORT_ADMIN__PORT to a free one, or to 0 for any",
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="admin", daemon=True)
    thread.start()
    _log.info("admin port: http://%s:%d", settings.host, server.server_port)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(health: Health) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds a client may take over its request

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/livez":
                    self._verdict("live", health.stalled())
                case "/readyz":
                    self._verdict("ready", health.not_ready())
                case "/metrics":
                    encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                    self._answer(HTTPStatus.OK, content_type, encode(REGISTRY))
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/livez /readyz /metrics\n")

        def _verdict(self, what: str, faults: dict[str, str]) -> None:
            status = HTTPStatus.SERVICE_UNAVAILABLE if faults else HTTPStatus.OK
            body = orjson.dumps({what: not faults, "faults": faults}, option=orjson.OPT_APPEND_NEWLINE)
            self._answer(status, "application/json", body)

        def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            _log.debug(format, *args)

    return Handler
