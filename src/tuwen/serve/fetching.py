"""Pictures from elsewhere, where the operator allows it: from hosts on a list alone, and never from inside the network.

A host is resolved once, all its addresses must be public, and the connection goes to one of these very addresses, so
that no second look-up can lead elsewhere (DNS rebinding). A URL must fit one strict pattern, and the request is made of
the pattern's parts, so that no two parsers can disagree about it. Each of a few redirects goes through the same checks.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

import h11

from tuwen import __version__
from tuwen.config import TuwenError
from tuwen.serve.errors import ApiError
from tuwen.serve.limits import Limits
from tuwen.serve.pictures import WantedPicture

MOST_REDIRECTS = 3
LONGEST_URL = 4096
MOST_HEADERS = 32 * 1024
CHUNK = 64 * 1024
PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 303, 307, 308)
_HOST = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
# The path holds none of the characters about which parsers disagree: \ @ in front of it, blanks, controls, fragments.
_URL = re.compile(rf"(https?)://({_HOST})(?::([0-9]{{1,5}}))?([/?][!$-;=?-\[\]_a-z~%&]*)?", re.IGNORECASE | re.ASCII)
_ALLOWED = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?", re.ASCII)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Connect = Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Refused(Exception):
    """Why a picture is not fetched, in words for the client."""


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, taken apart."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        return self.host if self.port == PORTS[self.scheme] else f"{self.host}:{self.port}"


def parse_url(url: str) -> Address:
    """The parts of a plain http or https URL.

    Raises:
        Refused: for anything else.
    """
    match = _URL.fullmatch(url) if len(url) <= LONGEST_URL else None
    if match is None:
        raise Refused("expected a plain http or https URL, or `data:image/…;base64,…`")
    scheme, host, target = match[1].lower(), match[2].lower(), match[4] or "/"
    port = int(match[3]) if match[3] else PORTS[scheme]
    return Address(scheme, host, port, target if target.startswith("/") else f"/{target}")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet's, by whichever way of writing it leads there."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found.sixtofour is not None or found.teredo is not None or found in _NAT64:
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


async def resolve(host: str, port: int) -> Sequence[str]:
    """All addresses of a host."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Fetcher:
    """Fetches pictures.

    Args:
        hosts: that are allowed, as ``example.com`` (ports 80 and 443) or ``example.com:8443``.
        resolver: host and port → addresses.
        connect: as ``asyncio.open_connection``.

    Raises:
        TuwenError: for a host that is none.
    """

    def __init__(
        self, hosts: Collection[str], *, resolver: Resolve = resolve, connect: Connect = asyncio.open_connection
    ) -> None:
        self._allowed: set[tuple[str, int]] = set()
        for host in hosts:
            match = _ALLOWED.fullmatch(host.lower())
            if match is None:
                raise TuwenError(
                    f"--allow-remote-media {host!r:.80}: expected a host, as example.com or example.com:8443"
                )
            ports = [int(match[2])] if match[2] else list(PORTS.values())
            self._allowed |= {(match[1], port) for port in ports}
        self._resolve, self._connect = resolver, connect
        self._tls = ssl.create_default_context()

    async def fetch(self, wanted: Sequence[WantedPicture], limits: Limits, room: int) -> dict[str, bytes]:
        """The bytes of some pictures, by URL, each fetched once.

        Args:
            wanted: the pictures.
            limits: of each picture, and on the time for all.
            room: bytes that all together may have.

        Raises:
            ApiError: naming the picture, when it is not allowed, not to be had, too large or too slow.
        """
        found: dict[str, bytes] = {}
        picture = wanted[0]
        try:
            # All are looked at before the first is asked for.
            for picture in wanted:
                self._check(picture.url)
            async with asyncio.timeout(limits.fetch_seconds):
                for picture in wanted:
                    if picture.url not in found:
                        found[picture.url] = await self._follow(picture.url, min(limits.picture_bytes, room))
                        room -= len(found[picture.url])
        except TimeoutError:
            raise picture.refusal(f"not fetched within {limits.fetch_seconds:g} seconds") from None
        except Refused as error:
            raise picture.refusal(str(error)) from None
        except (OSError, h11.RemoteProtocolError, h11.LocalProtocolError):
            # What a network says tells of what is in it.
            raise _unreachable(picture) from None
        return found

    def _check(self, url: str) -> Address:
        address = parse_url(url)
        if (address.host, address.port) not in self._allowed:
            raise Refused("this server fetches no pictures from that host")
        return address

    async def _follow(self, url: str, most: int) -> bytes:
        address = self._check(url)
        for _ in range(MOST_REDIRECTS + 1):
            body, location = await self._get(address, most)
            if location is None:
                return body
            address = self.next_address(address, location)
        raise Refused(f"more than {MOST_REDIRECTS} redirects")

    def next_address(self, address: Address, location: str) -> Address:
        """Where a redirect leads.

        Raises:
            Refused: when it leads out of the list, or from https to http.
        """
        try:
            following = self._check(urljoin(f"{address.scheme}://{address.authority}{address.target}", location))
        except ValueError:
            raise Refused("the other server redirects to what is no URL") from None
        if (address.scheme, following.scheme) == ("https", "http"):
            raise Refused("the other server leads from https to http")
        return following

    async def _get(self, address: Address, most: int) -> tuple[bytes, str | None]:
        """The body, or where else to look."""
        reader, writer = await self._open(address)
        try:
            exchange = _Exchange(reader, writer)
            return await exchange.get(address, most)
        finally:
            # Closing politely would wait for a peer that may never answer.
            writer.transport.abort()

    async def _open(self, address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        found = await self._resolve(address.host, address.port)
        if not found or not all(is_public(one) for one in found):
            raise Refused("this server fetches no pictures from that host")
        secure = {"ssl": self._tls, "server_hostname": address.host} if address.scheme == "https" else {}
        for place, one in enumerate(found):
            try:
                return await self._connect(one, address.port, **secure)
            except OSError:
                if place == len(found) - 1:
                    raise
        raise AssertionError("a host has at least one address here")


class _Exchange:
    """One request and its answer, on a connection of their own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEADERS)

    async def get(self, address: Address, most: int) -> tuple[bytes, str | None]:
        headers = [
            ("Host", address.authority),
            ("User-Agent", f"tuwen/{__version__}"),
            ("Accept", "image/*"),
            # What is packed could unpack to any size.
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        request = h11.Request(method="GET", target=address.target, headers=headers)
        self._writer.write(self._state.send(request) or b"")
        self._writer.write(self._state.send(h11.EndOfMessage()) or b"")
        await self._writer.drain()
        response = await self._event()
        while isinstance(response, h11.InformationalResponse):
            response = await self._event()
        if not isinstance(response, h11.Response):
            raise Refused("the other server gave no answer")
        fields = dict(response.headers)
        if response.status_code in REDIRECTS and b"location" in fields:
            return b"", fields[b"location"].decode("latin-1")
        if response.status_code != 200 or fields.get(b"content-encoding", b"identity") != b"identity":
            raise Refused("the other server did not give the picture")
        return await self._body(most), None

    async def _body(self, most: int) -> bytes:
        body = bytearray()
        while True:
            event = await self._event()
            if isinstance(event, h11.EndOfMessage):
                return bytes(body)
            if not isinstance(event, h11.Data):
                raise Refused("the other server broke off")
            body += event.data
            if len(body) > most:
                raise Refused(f"larger than the {most:,} bytes that are taken")

    async def _event(self) -> object:
        while (event := self._state.next_event()) is h11.NEED_DATA:
            self._state.receive_data(await self._reader.read(CHUNK))
        return event


def _unreachable(picture: WantedPicture) -> ApiError:
    return picture.refusal("it could not be fetched")
