"""Files that are not what they claim, made from real clips by changing real bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PLAYLIST = "#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile /etc/passwd\n"
_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf"}


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset, size) of every ISO box, parents first."""
    position, end = start, len(data) if end is None else end
    while position + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, position)
        if size < 8:
            return
        yield kind, position, size
        if kind in _CONTAINERS:
            yield from boxes(data, position + 8, position + size)
        position += size


def box(data: bytes, kind: bytes) -> int:
    """The offset of the first box of this type."""
    return next(offset for found, offset, _ in boxes(data) if found == kind)


def cuts(data: bytes, count: int) -> list[int]:
    """Lengths to cut an mp4 to: at every box, just behind its header, one byte short, and evenly in between."""
    edges = {offset + shift for _, offset, size in boxes(data) for shift in (0, 8, size - 1)}
    even = {len(data) * i // count for i in range(count)}
    places = sorted(place for place in edges | even if place < len(data))
    return places if len(places) <= count else [places[number * len(places) // count] for number in range(count)]


def claim_size(data: bytes, width: int, height: int) -> bytes:
    """The mp4 with another picture size in its track header and sample description."""
    changed = bytearray(data)
    struct.pack_into(">II", changed, box(data, b"tkhd") + 8 + 76, width << 16, height << 16)
    entry = data.index(b"avc1", box(data, b"stsd")) if b"avc1" in data else data.index(b"hvc1")
    struct.pack_into(">HH", changed, entry + 4 + 24, width, height)
    return bytes(changed)


def turned(data: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """The mp4 with a display matrix (a, b, c, d of the 2x2 part) in its track header."""
    a, b, c, d = matrix
    changed = bytearray(data)
    values = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    struct.pack_into(">9i", changed, box(data, b"tkhd") + 8 + 40, *values)
    return bytes(changed)


def damaged(data: bytes, begin: float, end: float) -> bytes:
    """The mp4 with part of its media data (begin and end as shares of it) overwritten."""
    offset = box(data, b"mdat")
    size = struct.unpack_from(">I", data, offset)[0] - 8
    first, last = offset + 8 + int(size * begin), offset + 8 + int(size * end)
    return data[:first] + b"\xa5" * (last - first) + data[last:]


def sparse_header(width: int, height: int) -> bytes:
    """An H.264 sequence parameter set that asks for width x height (multiples of 16), as the codec itself reads it."""
    bits = "01000010" + "00000000" + "00111110"  # profile 66, no constraints, level 6.2
    for value in (0, 0, 2, 1):  # sps id, log2_max_frame_num - 4, poc type 2, one reference frame
        bits += _golomb(value)
    bits += "0" + _golomb(width // 16 - 1) + _golomb(height // 16 - 1) + "1" + "1" + "0" + "0" + "1"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    escaped = bytearray()
    for byte in payload:
        if byte <= 3 and escaped[-2:] == b"\x00\x00":
            escaped.append(3)
        escaped.append(byte)
    return b"\x67" + bytes(escaped)


def with_parameter_set(data: bytes, parameters: bytes) -> bytes:
    """The H.264 mp4 with another sequence parameter set in its avcC box, all sizes and offsets of it made right.

    The moov box must be the last one, so that nothing else moves.
    """
    start = data.index(b"avcC") - 4
    size = struct.unpack_from(">I", data, start)[0]
    length = struct.unpack_from(">H", data, start + 8 + 6)[0]
    rest = data[start + 8 + 8 + length : start + size]
    content = data[start + 8 : start + 8 + 6] + struct.pack(">H", len(parameters)) + parameters + rest
    grown = len(content) + 8 - size
    changed = bytearray(data[:start] + struct.pack(">I4s", len(content) + 8, b"avcC") + content + data[start + size :])
    for _, offset, box_size in boxes(data):
        if offset < start < offset + box_size:
            struct.pack_into(">I", changed, offset, box_size + grown)
    for offset in (box(data, b"stsd"), data.index(b"avc1", box(data, b"stsd")) - 4):
        struct.pack_into(">I", changed, offset, struct.unpack_from(">I", data, offset)[0] + grown)
    return bytes(changed)


def _golomb(value: int) -> str:
    """ue(v) of ISO 14496-10."""
    code = bin(value + 1)[2:]
    return "0" * (len(code) - 1) + code
