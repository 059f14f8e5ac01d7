"""Pictures from elsewhere: from hosts on the list alone, never from inside the network, never too much or too long."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serve.conftest import Serving, image_part, png
from tests.serve.test_refusals import refusal
from tuwen.config import TuwenError
from tuwen.serve.errors import ApiError
from tuwen.serve.fetching import Fetcher, Refused, is_public, parse_url
from tuwen.serve.limits import Limits
from tuwen.serve.pictures import WantedPicture

PUBLIC, OTHER = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
PICTURE = png()
Page = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes = PICTURE, status: str = "200 OK", **headers: str) -> Page:
    async def write(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    return write


def redirect(to: str) -> Page:
    return answer(b"", "302 Found", Location=to)


@dataclass
class Web:
    """Some hosts, all on a local socket; resolution and connections to them are those of the fetcher under test.

    Attributes:
        pages: host and target → what is answered.
        addresses: host → what each look-up gives; the last one stays.
        looked_up: hosts, in order.
        connected: addresses, ports and server names, in order.
        requests: heads of requests, in order.
        contexts: of TLS, of each connection.
    """

    pages: dict[tuple[str, str], Page] = field(default_factory=dict)
    addresses: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    looked_up: list[str] = field(default_factory=list)
    connected: list[tuple[str, int, str | None]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.looked_up.append(host)
        waiting = self.addresses.get(host, [[PUBLIC]])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    async def connect(self, address: str, port: int, ssl: Any = None, server_hostname: str | None = None) -> Any:
        self.contexts.append(ssl)
        self.connected.append((address, port, server_hostname))
        assert is_public(address), "a connection into the network"
        assert (ssl is not None) == (server_hostname is not None)
        return await asyncio.open_connection("127.0.0.1", self.port)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            host = next(line[6:] for line in head.splitlines() if line.startswith("Host: "))
            try:
                await self.pages.get((host, head.split()[1]), answer(b"", "404 Not Found"))(writer)
                await writer.drain()
            except ConnectionError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield

    def fetch(self, *urls: str, allowed: Sequence[str] = ("pictures.example",), **limits: Any) -> dict[str, bytes]:
        async def run() -> dict[str, bytes]:
            async with self.open():
                fetcher = Fetcher(allowed, resolver=self.resolve, connect=self.connect)
                wanted = [WantedPicture(url, "here") for url in urls]
                return await fetcher.fetch(wanted, Limits(**limits), Limits(**limits).request_bytes)

        return asyncio.run(run())

    def refused(self, *urls: str, **options: Any) -> str:
        with pytest.raises(ApiError) as found:
            self.fetch(*urls, **options)
        assert found.value.status == 400
        assert found.value.param == "here"
        assert PUBLIC not in found.value.message
        return found.value.message


URL = "http://pictures.example/a.png"


def web(page: Page, **pages: Page) -> Web:
    return Web({("pictures.example", "/a.png"): page, **{("pictures.example", f"/{k}"): v for k, v in pages.items()}})


def test_a_picture_is_fetched_from_the_address_that_was_looked_up() -> None:
    here = web(answer())
    assert here.fetch(URL, URL) == {URL: PICTURE}
    assert here.looked_up == ["pictures.example"]
    assert here.connected == [(PUBLIC, 80, None)]
    assert "Host: pictures.example\r\n" in here.requests[0]
    assert "Accept-Encoding: identity" in here.requests[0]


def test_https_asks_for_a_certificate_of_the_name() -> None:
    here = web(answer())
    # The local server speaks no TLS; what matters is what was asked of the connection.
    here.fetch("https://pictures.example/a.png")
    assert here.connected == [(PUBLIC, 443, "pictures.example")]
    assert here.contexts[0].verify_mode == ssl.CERT_REQUIRED
    assert here.contexts[0].check_hostname


def test_nothing_is_fetched_unless_allowed(serving: Serving) -> None:
    with serving() as running:
        for url in (URL, "https://example.com/a.png"):
            error = refusal(running.chat([image_part(url)]), 400)
            assert "this server fetches none" in error["message"]
            assert error["param"] == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/a.png", "http://pictures.example.other.example/a.png", "http://pictures.example./a.png",
        "http://pictures.example:8080/a.png", "http://127.0.0.1/a.png", "http://[::1]/a.png", "http://2130706433/a.png",
        "http://0x7f.1/a.png", "http://localhost/a.png", "http://169.254.169.254/latest/meta-data/",
        "http://user@pictures.example/a.png", "http://pictures.example@other.example/a.png",
        "http://pictures.example\\@other.example/a.png", "http://other.example\\pictures.example/a.png",
        "http://pictures.example#@other.example/a.png", "http://pictures.example%2eother.example/a.png",
        "http://pictures。example/a.png", "http://ⓟictures.example/a.png", "http:///a.png",
        "http:pictures.example/a.png",
        "http://pictures.example/a b.png", "http://pictures.example/a.png\r\nX: y", "http://pictures.example/\x00",
        "ftp://pictures.example/a.png", "file:///etc/passwd", "file://pictures.example/etc/passwd",
        "//pictures.example/a",
        "javascript:alert(1)", "gopher://pictures.example/", "http://pictures.example/" + "a" * 5000,
    ],
)  # fmt: skip
def test_only_plain_urls_of_hosts_on_the_list_are_looked_up(url: str) -> None:
    here = web(answer())
    here.refused(url)
    # The good one does not go out, either: all are looked at before the first is fetched.
    here.refused(URL, url)
    assert not here.looked_up
    assert not here.connected


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
        "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "::ffff:7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
        "2001:0:7f00:1::", "2001:db8::1", "::127.0.0.1", "localhost", "",
    ],
)  # fmt: skip
def test_addresses_inside_the_network_are_never_connected_to(address: str) -> None:
    assert not is_public(address)
    for found in ([address], [PUBLIC, address], [address, PUBLIC]):
        here = web(answer())
        here.addresses["pictures.example"] = [found]
        here.refused(URL)
        assert not here.connected


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_as_public_as_what_it_maps(address: Any) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))


def test_both_kinds_of_public_addresses_are_tried_in_turn() -> None:
    here = web(answer())
    here.addresses["pictures.example"] = [[OTHER, PUBLIC]]
    first = here.connect

    async def connect(address: str, *arguments: Any, **options: Any) -> Any:
        if address == OTHER:
            raise OSError("no route to host")
        return await first(address, *arguments, **options)

    here.connect = connect  # type: ignore[method-assign]
    assert here.fetch(URL) == {URL: PICTURE}


def test_a_second_look_up_cannot_lead_elsewhere() -> None:
    here = web(redirect("/b.png"), **{"b.png": answer()})
    # Each connection is made to what its one look-up gave; the second leads inside and is refused.
    here.addresses["pictures.example"] = [[PUBLIC], ["127.0.0.1"]]
    here.refused(URL)
    assert here.looked_up == ["pictures.example"] * 2
    assert here.connected == [(PUBLIC, 80, None)]


@pytest.mark.parametrize(
    "to",
    [
        "http://other.example/a.png", "http://127.0.0.1/a.png", "//other.example/a.png", "file:///etc/passwd",
        "http://pictures.example:8080/a.png", "data:image/png;base64,AAAA", "http://pictures.example\\@other.example/",
        "gopher://pictures.example/",
    ],
)  # fmt: skip
def test_a_redirect_goes_through_the_same_checks(to: str) -> None:
    here = web(redirect(to))
    here.refused(URL)
    assert here.connected == [(PUBLIC, 80, None)]


def test_a_few_redirects_are_followed() -> None:
    here = web(redirect("/b"), b=redirect("http://pictures.example/c"), c=redirect("d"), d=answer())
    assert here.fetch(URL) == {URL: PICTURE}
    here = web(redirect("/b"), b=redirect("/c"), c=redirect("/d"), d=redirect("/e"), e=answer())
    assert "more than 3 redirects" in here.refused(URL)
    assert "more than 3 redirects" in web(redirect("/a.png")).refused(URL)


def test_https_never_leads_to_http() -> None:
    assert parse_url("https://a.example/x").scheme == "https"
    with pytest.raises(Refused, match="from https to http"):
        Fetcher(["a.example"]).next_address(parse_url("https://a.example/x"), "http://a.example/x")


def test_more_bytes_than_are_taken_are_not_read() -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(100_000))
            sent += 100_000
            await writer.drain()

    assert "larger than the 50,000 bytes" in web(endless).refused(URL, picture_bytes=50_000)
    assert sent < 20_000_000
    announced = answer(bytes(60_000))
    assert "larger than" in web(announced).refused(URL, picture_bytes=50_000)
    both = web(answer(bytes(30_000)), **{"b.png": answer(bytes(30_000))})
    assert "larger than" in both.refused(URL, "http://pictures.example/b.png", request_bytes=50_000)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
def test_there_is_one_deadline_for_all(head: bytes) -> None:
    async def slow(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(1000):
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.02)

    begun = time.monotonic()
    assert "not fetched within 0.3 seconds" in web(slow).refused(URL, fetch_seconds=0.3)
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize(
    "page",
    [
        answer(b"", "404 Not Found"), answer(status="206 Partial Content"), answer(Content_Encoding="gzip"),
        answer(b"", "204 No Content"), answer(b"", "302 Found"), answer(status="500 Oops"),
    ],
)  # fmt: skip
def test_only_a_whole_plain_answer_is_taken(page: Page) -> None:
    assert "did not give the picture" in web(page).refused(URL)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"junk\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
    ],
)
def test_what_is_no_answer_is_refused_in_fixed_words(sent: bytes) -> None:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)

    assert web(write).refused(URL) == "here: it could not be fetched."


def test_hosts_of_the_list_may_have_a_port() -> None:
    here = Web({("pictures.example:8443", "/a"): answer()})
    assert here.fetch("http://pictures.example:8443/a", allowed=["Pictures.example:8443"])
    assert here.connected == [(PUBLIC, 8443, None)]
    here.refused(URL, allowed=["pictures.example:8443"])
    for host in ("http://a.example", "*", "*.example", "a.example/x", "", "a b", "a.example:x"):
        with pytest.raises(TuwenError, match="--allow-remote-media"):
            Fetcher([host])


def test_a_fetched_picture_reaches_the_engine(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    here = web(answer())
    fetcher = Fetcher(["pictures.example"], resolver=here.resolve, connect=here.connect)
    with serving(fetcher=fetcher) as running:
        loop = running.server.servers[0].get_loop()

        async def start() -> Any:
            manager = here.open()
            await manager.__aenter__()
            return manager

        manager = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        assert running.chat([image_part(URL)]).status_code == 200
        assert running.engine.seen[0].prompt.rendered.image_spans
        error = refusal(running.chat([image_part("http://other.example/a.png")]), 400)
        assert error["param"] == "messages[0].content[0].image_url.url"
        asyncio.run_coroutine_threadsafe(manager.__aexit__(None, None, None), loop).result(10)


@given(st.text(max_size=60))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    for url in (text, f"http://{text}", f"http://a.example/{text}"):
        try:
            parse_url(url)
        except Refused:
            continue


def test_long_urls_are_read_in_linear_time() -> None:
    for text in ("a" * 4000, "a." * 2000, "a-" * 2000, ":" * 4000, "/?" * 2000):
        for url in (f"http://{text}", f"http://{text}\\", f"http://a/{text}\x00"):
            with pytest.raises(Refused):
                parse_url(url + " ")
