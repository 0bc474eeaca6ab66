"""From media_uri to a target, or a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.classify.analyse import PoisonError
from stream.media.resolve import FileTarget, HttpTarget, follow, resolve
from stream.settings import MediaSettings

SETTINGS = MediaSettings(allowed_hosts=("cdn.example.com", ".example.org", "8.8.8.8"), file_root=Path("/srv/videos"))


def code(uri: str, settings: MediaSettings = SETTINGS) -> str:
    with pytest.raises(PoisonError) as caught:
        resolve(uri, settings)
    return caught.value.code


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://cdn.example.com/a.mp4", HttpTarget("https", "cdn.example.com", 443, "/a.mp4")),
        ("HTTPS://CDN.Example.COM./a.mp4?x=1#part", HttpTarget("https", "cdn.example.com", 443, "/a.mp4?x=1")),
        ("https://a.example.org:443", HttpTarget("https", "a.example.org", 443, "/")),
        ("https://cdn.example.com/视频.mp4", HttpTarget("https", "cdn.example.com", 443, "/%E8%A7%86%E9%A2%91.mp4")),
        (
            "https://cdn.example.com/%2Fa%20b?sig=a%2Bb",
            HttpTarget("https", "cdn.example.com", 443, "/%2Fa%20b?sig=a%2Bb"),
        ),
        ("file:///srv/videos/a%20b.mp4", FileTarget(Path("/srv/videos/a b.mp4"), Path("/srv/videos"))),
        ("file://localhost/srv/videos/视频.mp4", FileTarget(Path("/srv/videos/视频.mp4"), Path("/srv/videos"))),
    ],
)
def test_what_an_address_means(uri: str, expected: object) -> None:
    assert resolve(uri, SETTINGS) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://cdn.example.com/a",
        "gopher://x",
        "data:video/mp4;base64,AA",
        "concat:a|b",
        "a.mp4",
        "/etc/passwd",
        "s3://b/k",
    ],
)
def test_other_schemes_are_refused(uri: str) -> None:
    assert code(uri) == "scheme_refused"


def test_http_wants_to_be_allowed() -> None:
    assert code("http://cdn.example.com/a") == "scheme_refused"
    allowed = SETTINGS.model_copy(update={"allow_http": True})
    assert resolve("http://cdn.example.com/a", allowed) == HttpTarget("http", "cdn.example.com", 80, "/a")


def test_files_want_a_root() -> None:
    assert code("file:///srv/videos/a.mp4", MediaSettings()) == "scheme_refused"


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.com/",
        "https://cdn.example.com.evil.com/",
        "https://1.1.1.1/",
        "https://[::1]/",
        "https://localhost/",
    ],
)
def test_hosts_that_are_not_listed_are_refused(uri: str) -> None:
    assert code(uri) == "host_refused"


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "0x7f.1", "127.1", "8.8.2056"])
def test_addresses_in_disguise_are_refused(host: str) -> None:
    assert code(f"https://{host}/") == "address_refused"


@pytest.mark.parametrize(
    "uri",
    [
        "https://user@cdn.example.com/",
        "https://cdn.example.com@evil.com/",
        "https://cdn.example.com\\@evil.com/",
        "https://cdn.example.com:0x50/",
        "https://cdn.example.com:99999/",
        "https://[::1/",
        "https:///a.mp4",
        "https://cdn.example.com/a\r\nHost: evil",
        "https://cdn.example.com/a b",
        "file://evil.com/srv/videos/a.mp4",
        "file:///srv/videos/a.mp4?x",
        "",
    ],
)
def test_what_is_malformed_or_meant_to_confuse_is_refused(uri: str) -> None:
    assert code(uri) in {"uri_malformed", "scheme_refused", "host_refused"}


@pytest.mark.parametrize("path", ["..%2f..%2fetc/passwd", "a%00.mp4", "a%5cb.mp4", "%2Fetc%2fpasswd"])
def test_encoded_separators_are_refused(path: str) -> None:
    assert code(f"file:///srv/videos/{path}") == "path_refused"


def test_a_redirect_is_held_to_the_same_rules() -> None:
    start = HttpTarget("https", "cdn.example.com", 443, "/a/b?x")
    assert follow(start, "c?y", SETTINGS) == HttpTarget("https", "cdn.example.com", 443, "/a/c?y")
    assert follow(start, "//x.example.org/d", SETTINGS) == HttpTarget("https", "x.example.org", 443, "/d")
    for location in (
        "https://evil.com/",
        "http://cdn.example.com/",
        "file:///srv/videos/a.mp4",
        "ftp://cdn.example.com/",
    ):
        with pytest.raises(PoisonError):
            follow(start, location, SETTINGS)


@given(st.text())
def test_no_text_raises_anything_else(uri: str) -> None:
    for text in (uri, f"https://{uri}", f"file:///{uri}", f"https://cdn.example.com/{uri}"):
        try:
            target = resolve(text, SETTINGS)
        except PoisonError:
            continue
        assert isinstance(target, FileTarget) or target.host.isascii()


def test_no_error_tells_a_signed_address() -> None:
    for uri in ("https://evil.com/a?Signature=SECRET", "ftp://cdn.example.com/a?Signature=SECRET"):
        with pytest.raises(PoisonError) as caught:
            resolve(uri, SETTINGS)
        assert "SECRET" not in str(caught.value)
