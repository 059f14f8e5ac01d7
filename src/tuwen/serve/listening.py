"""Where a server listens."""

from __future__ import annotations

import ipaddress
import socket

from tuwen.config import TuwenError


def bind(host: str, port: int) -> socket.socket:
    """A socket that has the port, and does not listen yet.

    Raises:
        TuwenError: when it is not to be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise TuwenError(f"--host {host}: not an address of this machine ({error.strerror})") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) else error
        raise TuwenError(f"--host {host} --port {port}: cannot be listened at ({why}); choose another") from None
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Whether a socket can be reached from its own machine alone."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
