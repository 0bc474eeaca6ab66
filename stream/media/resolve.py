"""From an event's media_uri to what can be fetched. One function per scheme; a new scheme is a new entry.

Details of errors never hold a path or a query of http(s): a signed address is a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit

from stream.classify.analyse import PoisonError
from stream.media.addresses import host_allowed, is_disguised
from stream.settings import MediaSettings

DEFAULT_PORTS = {"https": 443, "http": 80}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_ENCODED_SEPARATOR = re.compile(r"%(2f|5c|00)", re.IGNORECASE)
_KEPT = "!#$%&'()*+,/:;=?@[]~"  # of an address that may be an IRI


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A file of this machine, and the root it must lie under; neither looked at yet."""

    path: Path
    root: Path


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """One request. `host` is lower case, in ASCII and on the allowlist; `target` is path and query as they are sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.target}"


Target = FileTarget | HttpTarget


def resolve(uri: str, settings: MediaSettings) -> Target:
    """What `uri` means under these settings. Raises PoisonError: uri_malformed, scheme_refused, host_refused,
    address_refused, path_refused."""
    if _FORBIDDEN.search(uri):
        raise PoisonError("uri_malformed", "it holds a space, a backslash or a control character")
    try:
        parts = urlsplit(uri)
        scheme = parts.scheme.lower()
        if scheme not in _SCHEMES or (scheme == "http" and not settings.allow_http):
            raise PoisonError("scheme_refused", f"{scheme or 'no scheme'!r} is not fetched")
        return _SCHEMES[scheme](parts, settings)
    except ValueError as error:
        raise PoisonError("uri_malformed", str(error)) from error


def follow(target: HttpTarget, location: str, settings: MediaSettings) -> HttpTarget:
    """Where a redirect leads, under the same rules. Raises PoisonError as resolve() does."""
    found = resolve(urljoin(target.url, location), settings)
    if not isinstance(found, HttpTarget):
        raise PoisonError("scheme_refused", f"{target.host} redirects to a file")
    return found


def _file(parts: SplitResult, settings: MediaSettings) -> FileTarget:
    if settings.file_root is None:
        raise PoisonError("scheme_refused", "'file' is not fetched: no file root is configured")
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise PoisonError("uri_malformed", "a file address is file:///path, percent-encoded")
    if _ENCODED_SEPARATOR.search(parts.path):
        raise PoisonError("path_refused", "the path holds an encoded separator")
    return FileTarget(Path(os.fsdecode(unquote_to_bytes(parts.path))), settings.file_root)


def _http(parts: SplitResult, settings: MediaSettings) -> HttpTarget:
    if parts.username is not None or parts.password is not None:
        raise PoisonError("uri_malformed", "the address holds a user name")
    if not parts.hostname:
        raise PoisonError("uri_malformed", "the address names no host")
    host = parts.hostname.rstrip(".")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if is_disguised(host):
        raise PoisonError("address_refused", f"{host} is an address in disguise")
    if not host_allowed(host, settings.allowed_hosts):
        raise PoisonError("host_refused", f"{host} is not on the list of hosts to fetch from")
    scheme = parts.scheme.lower()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return HttpTarget(scheme, host, parts.port or DEFAULT_PORTS[scheme], quote(target, safe=_KEPT))


_SCHEMES: Mapping[str, Callable[[SplitResult, MediaSettings], Target]] = {"file": _file, "https": _http, "http": _http}
