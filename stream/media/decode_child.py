"""The process that decodes: it is given open files, writes into shared memory, and may die.

`python -m stream.media.decode_child SOCKET_FD MEMORY_FD SETTINGS_JSON`. It holds no secret and no connection: its
parent gives it a bare environment, one socket to be asked through and one block of memory to answer into. It confines
itself before the first file arrives, and ends when its parent does.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from models.media.decode import decode_clip
from models.media.types import Clip, MediaError
from models.preprocess.audio import log_mel
from stream.media.shared_clip import READY, ChildSettings, ClipArrays, arrays_in, bytes_needed

Decoder = Callable[[Path, ChildSettings], Clip]
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_OPEN_FILES = 32
_DETAIL = 500  # characters of an error that travel


def decode(path: Path, settings: ChildSettings) -> Clip:
    """The real decoder."""
    return decode_clip(path, settings.frame_plan, settings.audio_plan, settings.limits)


def serve(arguments: list[str], decoder: Decoder) -> None:
    """Answer until the parent hangs up. A clip that ran out of memory is answered too, and ends the process."""
    socket_fd, memory_fd, text = arguments
    settings = ChildSettings.from_json(text)
    _die_with_parent()
    _ignore_signals()
    with socket.socket(fileno=int(socket_fd)) as parent:
        arrays = arrays_in(mmap.mmap(int(memory_fd), bytes_needed(settings)), settings)
        _confine(settings)
        parent.send(READY)
        while True:
            request, files, _, _ = socket.recv_fds(parent, 64, 1)
            if not request:
                return
            _allow_cpu(settings.cpu_seconds)
            answer = _answer(files[0], arrays, settings, decoder)
            parent.send(json.dumps(answer).encode())
            if answer.get("code") == "memory":
                return


def _answer(file: int, arrays: ClipArrays, settings: ChildSettings, decoder: Decoder) -> dict[str, Any]:
    """Decode the open file into `arrays`; the clip's facts, or the error's code and detail."""
    started = time.perf_counter()
    try:
        clip = decoder(Path(f"/proc/self/fd/{file}"), settings)
        arrays.frames[:] = clip.frames
        arrays.timestamps[:] = clip.timestamps
        if settings.audio_plan is not None:
            arrays.log_mel[:], arrays.audio_mask[:] = log_mel(clip.audio, settings.audio_plan)
    except MediaError as error:
        return {"code": error.code, "detail": error.detail[:_DETAIL]}
    except MemoryError:
        return {"code": "memory", "detail": "decoding took more memory than it may"}
    except Exception as error:
        return {"code": "decoder_crashed", "detail": repr(error)[:_DETAIL]}
    finally:
        os.close(file)
    return {
        "duration_s": clip.duration_s,
        "width": clip.width,
        "height": clip.height,
        "codec": clip.codec,
        "seconds": time.perf_counter() - started,
    }


def _die_with_parent() -> None:
    """SIGKILL for us when the thread that started us ends, however it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _ignore_signals() -> None:
    """A signal to the whole group asks the parent to drain; whether we go on is the parent's to say."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _confine(settings: ChildSettings) -> None:
    """No core dump, no file written, few files open, so much memory; first in line when the kernel runs out of it."""
    with suppress(OSError):  # not in every container, and then the limit below still holds
        Path("/proc/self/oom_score_adj").write_text("1000")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stderr.fileno())  # what native code prints is no log line
    os.close(silence)
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_AS, settings.memory_bytes),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def _allow_cpu(seconds: float) -> None:
    """So much processor time from now on, else SIGXCPU: it holds even where the parent's clock does not run."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 2, hard))


if __name__ == "__main__":
    serve(sys.argv[1:], decode)
