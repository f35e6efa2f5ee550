"""When a limit resets, read from the sentences that tell it. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

# "usage limit reached|1738425600": older CLIs.
_EPOCH = re.compile(r"\|(\d{10})\b")
# "You will regain access on 2026-12-01 at 00:00 UTC"
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:\s+at\s+|T|\s+)(\d\d):(\d\d)(?::\d\d)?\s*(?:UTC|Z)")
# "resets 1am", "resets 10:31am (UTC)", "resets Dec 1, 9:31am (Europe/Berlin)"
_CLOCK = re.compile(
    r"resets (?:at )?(?:([A-Z][a-z]{2}) (\d{1,2})(?:,? (\d{4}))?(?:,| at)? )?"
    r"(1[0-2]|0?[1-9])(?::(\d\d))? ?([ap]m)(?: \(([\w/+-]+)\))?"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def reset_time(text: str, now: float) -> float | None:
    """Seconds since the epoch; None if the text tells no time. `now`: the same, for a time without a date."""
    try:
        if found := _EPOCH.search(text):
            return float(found[1])
        if found := _DATE.search(text):
            year, month, day, hour, minute = map(int, found.groups())
            return datetime(year, month, day, hour, minute, tzinfo=timezone.utc).timestamp()
        if found := _CLOCK.search(text):
            return _next(found, now)
    except (ValueError, OverflowError, LookupError, OSError):
        # No such day, hour or time zone.
        pass
    return None


def _next(found: re.Match[str], now: float) -> float:
    """The next time that a clock, and a calendar without a year, show this."""
    month, day, year, hour, minute, half, zone = found.groups()
    here = datetime.fromtimestamp(now, _zone(zone))
    hours = int(hour) % 12 + (12 if half == "pm" else 0)
    when = here.replace(hour=hours, minute=int(minute or 0), second=0, microsecond=0)
    if month is None:
        return (when if when > here else when + timedelta(days=1)).timestamp()
    when = when.replace(year=int(year or here.year), month=_MONTHS.index(month) + 1, day=int(day))
    if year is None and when < here - timedelta(days=1):
        when = when.replace(year=when.year + 1)
    return when.timestamp()


def _zone(name: str | None) -> tzinfo | None:
    """None: this machine's, which is the CLI's too."""
    if name is None:
        return None
    return timezone.utc if name == "UTC" else ZoneInfo(name)
