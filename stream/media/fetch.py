"""Bytes of a video, brought to an open file of this machine, or a reason why not.

A file of the configured root is used where it lies; a download goes to a scratch file without a name, which is gone
when it is closed, even by SIGKILL.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpcore

from stream.classify.analyse import PoisonError, TransientError
from stream.media.network import PUBLIC_INTERNET, NetworkPolicy, connections
from stream.media.resolve import DEFAULT_PORTS, FileTarget, HttpTarget, follow, resolve
from stream.settings import MediaSettings

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN = frozenset({408, 425, 429})
_NEVER = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENXIO})


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """An open file. `path` leads to it, in this process, as long as the context of fetch() is open; size in bytes."""

    path: Path
    size: int


@contextmanager
def fetch(
    uri: str, settings: MediaSettings, deadline: float, policy: NetworkPolicy = PUBLIC_INTERNET
) -> Iterator[FetchedFile]:
    """The bytes of `uri`, until `deadline` (time.monotonic()) and no longer than settings.fetch_timeout_s.

    Raises PoisonError (forbidden, malformed, gone for good, too large) or TransientError (try again later; `host` names
    who was at fault).
    """
    target = resolve(uri, settings)
    if isinstance(target, FileTarget):
        descriptor = _open_inside(target)
    else:
        descriptor = _download(target, settings, min(deadline, time.monotonic() + settings.fetch_timeout_s), policy)
    try:
        size = os.fstat(descriptor).st_size
        if size > settings.max_bytes:
            raise PoisonError("too_large", f"{size} bytes, at most {settings.max_bytes}")
        yield FetchedFile(Path(f"/proc/self/fd/{descriptor}"), size)
    finally:
        os.close(descriptor)


def require_content(file: FetchedFile, sha256: str | None) -> None:
    """Raises TransientError where the bytes are not those the event promised: an edge may still serve what was there
    before an edit."""
    if sha256 is None:
        return
    with file.path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        raise TransientError("content_mismatch", f"the bytes have sha256 {found}, the event says {sha256}")


def _open_inside(target: FileTarget) -> int:
    """A descriptor of the regular file, wherever it truly lies, if that is below the root.

    The path is judged before it is opened, so that nothing outside is touched, and the opened file once more, so that a
    link put in its way in between does not count.
    """
    root = Path(os.path.realpath(target.root))
    try:
        real = Path(os.path.realpath(target.path))
        if not real.is_relative_to(root):
            raise PoisonError("path_refused", f"{target.path} is not below the file root")
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise PoisonError("path_refused", str(error)) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        if not root.is_dir():
            raise TransientError("file_root_missing", f"the file root {root} is not there") from error
        raise PoisonError("not_found", f"{target.path} does not exist") from error
    except OSError as error:
        if error.errno in _NEVER:
            raise PoisonError("path_refused", f"{target.path}: {error.strerror}") from error
        raise TransientError("file_io", f"{target.path}: {error.strerror}") from error
    opened = Path(f"/proc/self/fd/{descriptor}").readlink()
    if opened.is_relative_to(root) and stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise PoisonError("path_refused", f"{target.path} is no regular file below the file root")


def _download(target: HttpTarget, settings: MediaSettings, deadline: float, policy: NetworkPolicy) -> int:
    """A descriptor of an unnamed scratch file that holds the answer's body."""
    proxy = settings.proxy.get_secret_value() if settings.proxy is not None else None
    with connections(policy, deadline, proxy) as pool:
        for _ in range(MAX_REDIRECTS + 1):
            policy.check(target)
            try:
                with pool.stream("GET", target.url, headers=_headers(target)) as response:
                    if response.status == 200:
                        return _saved(response, target, settings)
                    target = _next(response, target, settings)
            except (httpcore.TimeoutException, TimeoutError) as error:
                raise TransientError("timeout", f"{target.host} did not answer in time", host=target.host) from error
            except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
                raise TransientError("connection", f"{target.host}: {error}", host=target.host) from error
    raise PoisonError("too_many_redirects", f"more than {MAX_REDIRECTS}, the last to {target.host}")


def _next(response: httpcore.Response, target: HttpTarget, settings: MediaSettings) -> HttpTarget:
    """Where a redirect leads; any other answer is an error."""
    if response.status in _REDIRECTS and (location := _header(response, b"location")):
        return follow(target, location, settings)
    if response.status >= 500 or response.status in _TRY_AGAIN:
        raise TransientError(f"http_{response.status}", f"{target.host} answered {response.status}", host=target.host)
    raise PoisonError(f"http_{response.status}", f"{target.host} answered {response.status}")


def _saved(response: httpcore.Response, target: HttpTarget, settings: MediaSettings) -> int:
    promised = _header(response, b"content-length")
    if promised.isdecimal() and int(promised) > settings.max_bytes:
        raise PoisonError("too_large", f"{promised} bytes, at most {settings.max_bytes}")
    try:
        with tempfile.TemporaryFile(dir=settings.scratch) as scratch:
            size = 0
            for chunk in response.iter_stream():
                size += len(chunk)
                if size > settings.max_bytes:
                    raise PoisonError("too_large", f"more than {settings.max_bytes} bytes")
                scratch.write(chunk)
            scratch.flush()
            return os.dup(scratch.fileno())
    except OSError as error:
        raise TransientError("scratch", f"the scratch file cannot be written: {error.strerror}") from error


def _headers(target: HttpTarget) -> dict[bytes | str, bytes | str]:
    default = DEFAULT_PORTS[target.scheme] == target.port
    host = f"[{target.host}]" if ":" in target.host else target.host
    return {
        "Host": host if default else f"{host}:{target.port}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": "reelsort",
    }


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")
