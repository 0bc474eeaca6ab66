"""How long a retry waits. Pure: the jitter is a hash, so that a redelivered input waits as long as it did before."""

from __future__ import annotations

from hashlib import blake2b


def back_off_s(key: str, tries: int, base_s: float, cap_s: float) -> float:
    """Seconds until try number tries + 1: base * 2^(tries - 1), capped, then spread over its upper half."""
    full = min(cap_s, base_s * 2.0 ** min(tries - 1, 32))
    digest = blake2b(f"{key}\0{tries}".encode(), digest_size=8).digest()
    return full * (0.5 + 0.5 * int.from_bytes(digest) / 2.0**64)
