"""One decode child as its parent sees it: started, asked, watched by a clock, buried, replaced."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.classify.analyse import PoisonError, TransientError
from stream.media.shared_clip import READY, ChildSettings, arrays_in, bytes_needed

CHILD = (sys.executable, "-P", "-m", "stream.media.decode_child")
_START_S = 60.0  # for an interpreter and libav on a busy machine
_STARTS = 3
_SLICE_S = 0.5
_ANSWER_BYTES = 8192
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TZ")


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """A clip as a child gives it back.

    frames: uint8 [T, S, S, 3]; timestamps: float64 [T] seconds from the first picture; log_mel: float32 [A, F] and
    audio_mask: bool [A] (A is 0 without an audio plan, the mask all False without sound); seconds: what decoding took.
    """

    frames: NDArray[np.uint8]
    timestamps: NDArray[np.float64]
    log_mel: NDArray[np.float32]
    audio_mask: NDArray[np.bool_]
    duration_s: float
    width: int
    height: int
    codec: str
    seconds: float


class DecodeChild:
    """A child and the shared memory it answers into. All calls but kill() come from the one thread that owns it."""

    def __init__(self, command: Sequence[str], settings: ChildSettings, timeout_s: float) -> None:
        self._command = tuple(command)
        self._settings = settings
        self._timeout_s = timeout_s
        self._killed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._memory = os.memfd_create("reelsort-clip", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        size = bytes_needed(settings)
        os.ftruncate(self._memory, size)
        # A child that shrank the memory would take us down with SIGBUS.
        fcntl.fcntl(self._memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._arrays = arrays_in(mmap.mmap(self._memory, size), settings)

    def decode(self, file: int) -> DecodedClip:
        """Have the open file decoded.

        Raises PoisonError, or TransientError where no child can be had. A child that the system killed (SIGKILL) may
        have been anyone's victim, so the file gets a second one; killed again, it is the file that takes the memory.
        """
        for attempt in (1, 2):
            answer = self._ask(file)
            if answer:
                return self._clip(answer)
            status = self._bury()
            if self._killed.is_set():
                raise TransientError("closing", "the decode pool was closed")
            if answer is None or status == -signal.SIGXCPU:
                raise PoisonError("decode_timeout", f"not decoded in {self._timeout_s:g} s")
            if status != -signal.SIGKILL:
                raise PoisonError("decoder_crashed", _epitaph(status))
            if attempt == 2:
                raise PoisonError("decode_memory", "the system killed its decoder twice")
        raise AssertionError

    def replace_if_dead(self) -> None:
        """Have a child ready for the next file; where none can be started the next file says so."""
        if self._process is None or self._process.poll() is not None:
            with suppress(TransientError):
                self._start()

    def kill(self) -> None:
        """End the child for good. From any thread; a decode() under way fails with TransientError."""
        self._killed.set()
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """Kill and bury the child, release its memory."""
        self.kill()
        self._bury()
        del self._arrays  # they hold the mapping, and the mapping a descriptor
        os.close(self._memory)

    def _ask(self, file: int) -> bytes | None:
        """The child's answer; b"" where it died over the file, None where time ran out."""
        for _ in range(_STARTS):
            if self._socket is None:
                self._start()
            assert self._socket is not None
            try:
                socket.send_fds(self._socket, [b"decode"], [file])
            except OSError:  # it died while idle: nobody's file is to blame
                self._bury()
                continue
            return self._receive(self._timeout_s)
        raise TransientError("decoder_unavailable", "decode children die as soon as they are started")

    def _start(self) -> None:
        self._bury()
        for _ in range(_STARTS):
            if self._killed.is_set():
                raise TransientError("closing", "the decode pool was closed")
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            descriptors = (theirs.fileno(), self._memory)
            try:
                self._process = subprocess.Popen(
                    [*self._command, *map(str, descriptors), self._settings.to_json()],
                    pass_fds=descriptors,
                    env=_bare_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise TransientError("decoder_unavailable", error.strerror or str(error)) from error
            finally:
                theirs.close()
            self._socket = ours
            if self._receive(_START_S) == READY:
                return
            self._bury()
        raise TransientError("decoder_unavailable", "no decode child can be started")

    def _receive(self, seconds: float) -> bytes | None:
        """One message, b"" at the end of the child, None after `seconds`.

        They are counted in slices of waiting, so that a process stopped for a while does not blame the file for it.
        """
        assert self._socket is not None
        left = seconds
        while left > 0:
            self._socket.settimeout(min(left, _SLICE_S))
            try:
                return self._socket.recv(_ANSWER_BYTES)
            except TimeoutError:
                left -= _SLICE_S
            except OSError:
                return b""
        return None

    def _bury(self) -> int | None:
        """Make sure that the child is gone; its exit status."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        process, self._process = self._process, None
        if process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_SLICE_S)  # it hung up, or is idle and sees that we did: its own status tells more
        process.kill()
        return process.wait()

    def _clip(self, answer: bytes) -> DecodedClip:
        """The clip of an answer, copied out of shared memory. A child that was taken over is not believed."""
        try:
            facts = json.loads(answer)
            if facts.get("code") == "memory":
                self._bury()  # it ends itself too, but not before the next file might be sent
                raise PoisonError("decode_memory", str(facts["detail"]))
            if code := facts.get("code"):
                raise PoisonError(str(code), str(facts["detail"]))
            return DecodedClip(
                frames=self._arrays.frames.copy(),
                timestamps=self._arrays.timestamps.copy(),
                log_mel=self._arrays.log_mel.copy(),
                audio_mask=self._arrays.audio_mask.copy(),
                duration_s=float(facts["duration_s"]),
                width=int(facts["width"]),
                height=int(facts["height"]),
                codec=str(facts["codec"]),
                seconds=float(facts["seconds"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._bury()
            raise PoisonError("decoder_crashed", "its decoder gave an answer that is none") from error


def _bare_environment() -> dict[str, str]:
    """What an interpreter needs to start, one thread for numpy, and none of our settings: they hold secrets."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _epitaph(status: int | None) -> str:
    if status is not None and status < 0:
        return f"its decoder died of {signal.Signals(-status).name}"
    return f"its decoder ended with status {status}"
