"""When the next request may start, by a limit of our own and by what the endpoint asks for."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime


class Pace:
    """Spreads requests evenly over a minute, and lets none start before a pause is over.

    Args:
        per_minute: requests at most; None for no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = self._paused_until = 0.0

    def wait(self, now: float) -> float:
        """Seconds from ``now`` until the next request may start; asking takes that place."""
        start = max(now, self._next)
        self._next = start + self._gap
        return start - now

    def pause(self, until: float) -> None:
        """No request starts before ``until``, not even one that was given an earlier place."""
        self._paused_until = max(self._paused_until, until)
        self._next = max(self._next, until)

    def pause_left(self, now: float) -> float:
        """Seconds from ``now`` until the pause is over; 0 without one."""
        return max(0.0, self._paused_until - now)


def asked_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a reply asks to wait by ``Retry-After`` (seconds or a date) or ``retry-after-ms``; None without.

    Args:
        headers: of the reply, with names in lower case.
        now: seconds since 1970.
    """
    value = headers.get("retry-after", "").strip()
    milliseconds = _number(headers.get("retry-after-ms", ""))
    seconds = _number(value) if milliseconds is None else milliseconds / 1000
    if seconds is None:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number < float("inf") else None
