"""https:// is fetched from hosts of the list, at addresses judged, within size and time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream.classify.analyse import PoisonError, TransientError
from stream.media import fetch as fetching
from stream.media.fetch import fetch
from stream.media.network import NetworkPolicy
from stream.settings import MediaSettings
from tests.support.web import BODY, Certificates, WebServer, connect_proxy, web_server

LOOPBACK = "127.0.0.1"
INSIDE = "10.0.0.5"


def soon() -> float:
    return time.monotonic() + 30


def fetched(uri: str, settings: MediaSettings, policy: NetworkPolicy | None = None) -> bytes:
    with fetch(uri, settings, soon(), policy or NetworkPolicy()) as file:
        data = file.path.read_bytes()
        assert file.size == len(data)
        return data


def poison(uri: str, settings: MediaSettings, policy: NetworkPolicy | None = None) -> str:
    with pytest.raises(PoisonError) as caught:
        fetched(uri, settings, policy)
    return caught.value.code


def transient(uri: str, settings: MediaSettings, policy: NetworkPolicy | None = None) -> tuple[str, str | None]:
    with pytest.raises(TransientError) as caught:
        fetched(uri, settings, policy)
    return caught.value.code, caught.value.host


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[WebServer]:
    with web_server(certificates.server("cdn.example.com", "other.example.com", "inside.example.com")) as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> MediaSettings:
    return MediaSettings(allowed_hosts=(".example.com", "localhost"), scratch=tmp_path)


@pytest.fixture
def policy(certificates: Certificates) -> NetworkPolicy:
    """Loopback stands for the internet, and 10.0.0.5 for the inside."""

    def resolver(host: str, port: int) -> Sequence[str]:
        return [INSIDE] if host.startswith("inside") else [LOOPBACK]

    return NetworkPolicy(
        resolver=resolver, is_allowed=lambda address: address.is_loopback, any_port=True, tls=certificates.client
    )


def url_of(server: WebServer, path: str, host: str = "cdn.example.com") -> str:
    return f"https://{host}:{server.port}{path}"


def test_the_body_is_what_was_sent(server: WebServer, settings: MediaSettings, policy: NetworkPolicy) -> None:
    server.requests.clear()
    assert fetched(url_of(server, "/ok/a.mp4?sig=1"), settings, policy) == BODY
    assert server.requests == [(f"cdn.example.com:{server.port}", "/ok/a.mp4?sig=1")]


def test_nothing_is_left_in_the_scratch_folder(
    server: WebServer, settings: MediaSettings, policy: NetworkPolicy, tmp_path: Path
) -> None:
    with fetch(url_of(server, "/ok"), settings, soon(), policy) as file:
        assert file.path.read_bytes() == BODY
        assert list(tmp_path.iterdir()) == []  # it has no name, so that not even SIGKILL leaves it
    assert list(tmp_path.iterdir()) == []


def test_the_public_policy_refuses_this_machine(server: WebServer, settings: MediaSettings) -> None:
    policy = NetworkPolicy(any_port=True)
    assert poison(url_of(server, "/ok", "localhost"), settings, policy) == "address_refused"
    listed = MediaSettings(allowed_hosts=("127.0.0.1", "169.254.169.254", "::1"))
    for host in ("127.0.0.1", "169.254.169.254", "[::1]"):
        assert poison(f"https://{host}/", listed) == "address_refused"


def test_a_name_that_resolves_inside_is_refused(
    server: WebServer, settings: MediaSettings, policy: NetworkPolicy
) -> None:
    server.requests.clear()
    assert poison(url_of(server, "/ok", "inside.example.com"), settings, policy) == "address_refused"
    mixed = NetworkPolicy(lambda *_: [LOOPBACK, INSIDE], policy.is_allowed, True, policy.tls)
    assert poison(url_of(server, "/ok"), settings, mixed) == "address_refused"
    assert server.requests == []


def test_the_address_judged_is_the_address_asked(
    server: WebServer, settings: MediaSettings, policy: NetworkPolicy
) -> None:
    """A resolver that answers well once and badly ever after is asked once for each connection."""
    answers = [[LOOPBACK], [INSIDE], [INSIDE]]
    rebinding = NetworkPolicy(lambda *_: answers.pop(0), policy.is_allowed, True, policy.tls)
    assert fetched(url_of(server, "/ok"), settings, rebinding) == BODY
    assert answers == [[INSIDE], [INSIDE]]


def test_a_second_address_is_tried_where_the_first_does_not_answer(
    server: WebServer, settings: MediaSettings, policy: NetworkPolicy
) -> None:
    two = NetworkPolicy(lambda *_: ["127.0.0.2", LOOPBACK], policy.is_allowed, True, policy.tls)
    assert fetched(url_of(server, "/ok"), settings, two) == BODY


def test_a_certificate_of_another_name_is_no_proof(
    settings: MediaSettings, policy: NetworkPolicy, certificates: Certificates
) -> None:
    with web_server(certificates.server("evil.example.net")) as other:
        assert transient(url_of(other, "/ok"), settings, policy) == ("connection", "cdn.example.com")


def test_a_certificate_of_an_unknown_authority_is_no_proof(settings: MediaSettings, policy: NetworkPolicy) -> None:
    with web_server(Certificates().server("cdn.example.com")) as other:
        assert transient(url_of(other, "/ok"), settings, policy) == ("connection", "cdn.example.com")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204, 304])
def test_what_is_refused_or_gone_is_poison(
    server: WebServer, settings: MediaSettings, policy: NetworkPolicy, status: int
) -> None:
    assert poison(url_of(server, f"/status/{status}"), settings, policy) == f"http_{status}"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_get_better_is_tried_again(
    server: WebServer, settings: MediaSettings, policy: NetworkPolicy, status: int
) -> None:
    assert transient(url_of(server, f"/status/{status}"), settings, policy) == (
        f"http_{status}",
        "cdn.example.com",
    )


def test_redirects_are_followed_and_counted(server: WebServer, settings: MediaSettings, policy: NetworkPolicy) -> None:
    assert fetched(url_of(server, f"/hops/{fetching.MAX_REDIRECTS}"), settings, policy) == BODY
    beyond = url_of(server, f"/hops/{fetching.MAX_REDIRECTS + 1}")
    assert poison(beyond, settings, policy) == "too_many_redirects"
    assert fetched(url_of(server, f"/redirect?to={url_of(server, '/ok', 'other.example.com')}"), settings, policy)


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("https://inside.example.com:{port}/ok", "address_refused"),
        ("https://10.0.0.5/", "host_refused"),
        ("https://2130706433/", "address_refused"),
        ("https://evil.net/", "host_refused"),
        ("http://cdn.example.com:{port}/ok", "scheme_refused"),
        ("file:///etc/passwd", "scheme_refused"),
        ("gopher://cdn.example.com/", "scheme_refused"),
        ("https://user@cdn.example.com/", "uri_malformed"),
    ],
)
def test_a_redirect_leads_nowhere_that_is_not_allowed(
    server: WebServer, settings: MediaSettings, policy: NetworkPolicy, to: str, code: str
) -> None:
    target = to.format(port=server.port)
    assert poison(url_of(server, f"/redirect?to={target}"), settings, policy) == code


def test_ports_are_those_of_the_scheme(server: WebServer, settings: MediaSettings) -> None:
    assert poison(url_of(server, "/ok"), settings) == "port_refused"
    assert poison("https://cdn.example.com:22/", settings) == "port_refused"


@pytest.mark.parametrize("path", ["/claim/10000000", "/endless"])
def test_a_body_too_large_is_refused(
    server: WebServer, settings: MediaSettings, policy: NetworkPolicy, path: str, tmp_path: Path
) -> None:
    small = settings.model_copy(update={"max_bytes": 100_000})
    assert poison(url_of(server, path), small, policy) == "too_large"
    assert list(tmp_path.iterdir()) == []


def test_a_body_cut_short_is_tried_again(server: WebServer, settings: MediaSettings, policy: NetworkPolicy) -> None:
    uri = url_of(server, f"/claim/{len(BODY) + 1}")
    assert transient(uri, settings, policy) == ("connection", "cdn.example.com")


@pytest.mark.parametrize("path", ["/trickle", "/trickled_headers", "/endless"])
def test_time_is_capped_however_busy_the_line(
    server: WebServer, settings: MediaSettings, policy: NetworkPolicy, path: str
) -> None:
    patient = settings.model_copy(update={"max_bytes": 2**40, "fetch_timeout_s": 0.4})
    began = time.monotonic()
    assert transient(url_of(server, path), patient, policy) == ("timeout", "cdn.example.com")
    assert time.monotonic() - began < 20


def test_the_callers_deadline_counts_too(server: WebServer, settings: MediaSettings, policy: NetworkPolicy) -> None:
    with (
        pytest.raises(TransientError, match="timeout"),
        fetch(url_of(server, "/ok"), settings, time.monotonic() - 1, policy),
    ):
        pass


def test_nobody_listening_is_tried_again(settings: MediaSettings, policy: NetworkPolicy) -> None:
    with web_server() as closed:
        port = closed.port
    uri = f"https://cdn.example.com:{port}/"
    assert transient(uri, settings, policy) == ("connection", "cdn.example.com")


def test_a_name_that_does_not_resolve_is_tried_again(settings: MediaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def servfail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", servfail)
    assert transient("https://cdn.example.com/", settings) == ("dns", "cdn.example.com")


def test_plain_http_where_it_is_allowed(settings: MediaSettings, policy: NetworkPolicy) -> None:
    with web_server() as plain:
        uri = f"http://cdn.example.com:{plain.port}/ok"
        assert poison(uri, settings, policy) == "scheme_refused"
        assert fetched(uri, settings.model_copy(update={"allow_http": True}), policy) == BODY


def test_a_proxy_is_asked_by_name_and_hosts_are_still_judged(
    server: WebServer, settings: MediaSettings, policy: NetworkPolicy
) -> None:
    with connect_proxy(server.port) as (port, asked):
        proxied = settings.model_copy(update={"proxy": SecretStr(f"http://{LOOPBACK}:{port}")})
        assert fetched(url_of(server, "/ok"), proxied, policy) == BODY
        assert asked == [f"CONNECT cdn.example.com:{server.port} HTTP/1.1"]
        assert poison("https://evil.net/", proxied, policy) == "host_refused"
        listed = proxied.model_copy(update={"allowed_hosts": (INSIDE,)})
        assert poison(f"https://{INSIDE}/", listed, policy) == "address_refused"
        assert len(asked) == 1
