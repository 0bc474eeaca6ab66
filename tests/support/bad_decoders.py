"""A decode child whose decoder misbehaves as the file it is given says; any other file is decoded.

Run as a DecodePool's `command`: BAD_CHILD.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from models.media.types import Clip, MediaError
from stream.media.decode_child import decode, serve
from stream.media.shared_clip import ChildSettings

BAD_CHILD = (sys.executable, "-m", "tests.support.bad_decoders")


def misbehaving(path: Path, settings: ChildSettings) -> Clip:
    deed = DEEDS.get(path.read_bytes()[:32].split(b"\n")[0].decode("ascii", "replace"))
    if deed is not None:
        deed()
    return decode(path, settings)


def segfault() -> None:
    ctypes.string_at(0)


def hang() -> None:
    signal.pause()


def spin() -> None:
    while True:
        pass


def eat_memory() -> NoReturn:
    eaten = []
    while True:
        eaten.append(bytearray(16 * 2**20))


def eat_memory_natively() -> None:
    """malloc() until it fails, then write where it pointed, as careless native code does."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    while block := libc.malloc(64 * 2**20):
        ctypes.memset(block, 1, 64 * 2**20)
    segfault()


def write_a_file() -> NoReturn:
    try:
        Path("/tmp/reelsort-decoder-was-here").write_bytes(b"x" * 100)
    except OSError as error:
        raise MediaError("confined", f"{error.strerror}") from error
    raise MediaError("not_confined", "a file was written")


def tell_environment() -> NoReturn:
    raise MediaError("environment", ",".join(sorted(os.environ)))


def raise_an_error() -> NoReturn:
    raise RuntimeError("a defect of the decoder")


def nap() -> None:
    time.sleep(1.0)


DEEDS: dict[str, Callable[[], None]] = {
    "segfault": segfault,
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": hang,
    "spin": spin,
    "eat": eat_memory,
    "eat natively": eat_memory_natively,
    "write": write_a_file,
    "environment": tell_environment,
    "error": raise_an_error,
    "nap": nap,
}

if __name__ == "__main__":
    serve(sys.argv[1:], misbehaving)
