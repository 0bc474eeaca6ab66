"""Inputs that nothing good can come of: real files, addresses that lead where they must not, and broken events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from tests.support.broken_clips import PLAYLIST, claim_size, cuts
from tests.support.clips import write_clip

INNER_HOSTS = (
    "10.0.0.1",
    "169.254.169.254",
    "::1",
    "localhost",
    "2130706433",
)  # on the allowlist, and refused all the same


@dataclass(frozen=True, slots=True)
class PoisonVideo:
    """A well-formed event whose media_uri is bad. code: of its dead letter; None: a proper label is right as well."""

    name: str
    uri: str
    code: str | None
    holds_decoder: bool = False  # it takes a decode child out for a while


@dataclass(frozen=True, slots=True)
class PoisonValue:
    """A value that is no event; its key names it. code: of its dead letter."""

    name: str
    value: bytes
    code: str


def good_clips(folder: Path) -> list[Path]:
    """Small real videos of several shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        write_clip(folder / "wide.mp4"),
        write_clip(folder / "tall.mp4", size=(64, 96), seconds=3.0),
        write_clip(folder / "silent.mp4", audio=False, bframes=2),
    ]


def poison_videos(root: Path, outside: Path, cut_count: int) -> list[PoisonVideo]:
    """Each kind of bad file and address, and one good mp4 cut at `cut_count` places.

    Files are written below the file root `root`; `outside` is a good video that does not lie there.
    """
    root.mkdir(parents=True, exist_ok=True)
    good = write_clip(root / "whole.mp4").read_bytes()
    (root / "link.mp4").unlink(missing_ok=True)
    (root / "link.mp4").symlink_to(outside)
    contents = [
        ("text", b"this is no video\n", "not_media"),
        ("playlist", PLAYLIST.encode(), "container"),
        ("huge-header", claim_size(good, 30_000, 30_000), "too_many_pixels"),
        ("segfault", b"segfault\n", "decoder_crashed"),
        ("hang", b"hang\n", "decode_timeout"),
        ("eat", b"eat\n", "decode_memory"),
    ]
    for name, content, _ in contents:
        (root / f"{name}.mp4").write_bytes(content)
    files = [
        PoisonVideo(name, _uri(root / f"{name}.mp4"), code, name in ("segfault", "hang", "eat"))
        for name, _, code in contents
    ]
    return [*files, *_addresses(root, outside), *_cut_files(root, good, cut_count)]


def _addresses(root: Path, outside: Path) -> list[PoisonVideo]:
    return [
        PoisonVideo(name, uri, code)
        for name, uri, code in [
            ("missing", _uri(root / "missing.mp4"), "not_found"),
            ("outside-the-root", _uri(outside), "path_refused"),
            ("dots", f"file://{root}/../{outside.name}", "path_refused"),
            ("encoded-slash", f"file://{root}/..%2f{outside.name}", "path_refused"),
            ("symlink-out", _uri(root / "link.mp4"), "path_refused"),
            ("private-address", "https://10.0.0.1/a.mp4", "address_refused"),
            ("link-local-address", "https://169.254.169.254/latest/meta-data", "address_refused"),
            ("loopback-address", "https://[::1]/a.mp4", "address_refused"),
            ("address-in-disguise", "https://2130706433/a.mp4", "address_refused"),
            ("name-that-leads-inside", "https://localhost/a.mp4", "address_refused"),
            ("host-not-allowed", "https://videos.example.com/a.mp4", "host_refused"),
            ("plain-http", "http://10.0.0.1/a.mp4", "scheme_refused"),
            ("ftp", "ftp://10.0.0.1/a.mp4", "scheme_refused"),
            ("data", "data:video/mp4;base64,AAAA", "scheme_refused"),
            ("concat", f"concat:{root}/whole.mp4", "scheme_refused"),
        ]
    ]


def _cut_files(root: Path, good: bytes, count: int) -> Iterator[PoisonVideo]:
    for number, place in enumerate(cuts(good, count)):
        path = root / f"cut-{number}.mp4"
        path.write_bytes(good[:place])
        yield PoisonVideo(f"cut-at-{place}", _uri(path), None)


def poison_values() -> list[PoisonValue]:
    event = {
        "video_id": "poison",
        "author_id": "a",
        "media_uri": "file:///a.mp4",
        "published_at": "2026-01-01T00:00:00Z",
        "title": "t",
    }
    lone_surrogate = orjson.dumps(event | {"title": "TITLE"}).replace(b"TITLE", rb"\ud800")
    without_media = {name: value for name, value in event.items() if name != "media_uri"}
    return [
        PoisonValue("nul-in-title", orjson.dumps(event | {"title": "a\x00b"}), "bad_value"),
        PoisonValue("lone-surrogate", lone_surrogate, "not_json"),
        PoisonValue("over-bigint", orjson.dumps(event | {"revision": 2**63}), "bad_value"),
        PoisonValue("not-json", b"this is no event", "not_json"),
        PoisonValue("no-media-uri", orjson.dumps(without_media), "missing_field"),
    ]


def broken_store(folder: Path, count: int) -> list[Path]:
    """Addresses of `count` files, every one of them broken."""
    _fill(folder.with_name("broken"), count, b"this is no video\n")
    folder.symlink_to("broken")
    return [folder / f"{number}.mp4" for number in range(count)]


def mend_store(folder: Path, count: int, good: Path) -> None:
    """All files of the store are good from one moment to the next."""
    _fill(folder.with_name("mended"), count, good.read_bytes())
    link = folder.with_name("new-link")
    link.symlink_to("mended")
    link.replace(folder)


def _fill(folder: Path, count: int, content: bytes) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.mp4").write_bytes(content)


def _uri(path: Path) -> str:
    return f"file://{path}"
