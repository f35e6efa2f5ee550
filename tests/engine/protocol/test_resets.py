"""The time of a reset, read from a sentence."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from claude_server.engine.protocol.resets import reset_time

NOW = datetime(2026, 11, 28, 9, 30, tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You've hit your session limit · resets 10:31am (UTC)", "2026-11-28 10:31"),
        ("You've hit your limit · resets 1pm (UTC)", "2026-11-28 13:00"),
        ("You've hit your limit · resets 12am (UTC)", "2026-11-29 00:00"),
        ("You've hit your limit · resets 12pm (UTC)", "2026-11-28 12:00"),
        # It has been nine today.
        ("You've hit your limit · resets 9am (UTC)", "2026-11-29 09:00"),
        ("You've hit your limit · resets 1pm (Europe/Berlin)", "2026-11-28 12:00"),
        ("You've hit your weekly limit · resets Dec 1, 9:31am (UTC)", "2026-12-01 09:31"),
        ("You've hit your weekly limit · resets Dec 1 at 9am (UTC)", "2026-12-01 09:00"),
        ("You've hit your weekly limit · resets Jan 2, 9am (UTC)", "2027-01-02 09:00"),
        ("You've hit your weekly limit · resets Jan 2, 2028, 9am (UTC)", "2028-01-02 09:00"),
        ("You will regain access on 2026-12-01 at 00:00 UTC.", "2026-12-01 00:00"),
        ("Claude AI usage limit reached|1796117460", "2026-12-01 09:31"),
        ("You've hit your weekly limit", None),
        ("resets 99am (UTC)", None),
        ("resets 1am (Nowhere/Land)", None),
        ("resets 1am (Europe)", None),
        ("resets Foo 1, 9am (UTC)", None),
        ("resets Feb 31, 9am (UTC)", None),
    ],
)
def test_reset_times(text: str, expected: str | None) -> None:
    found = reset_time(text, NOW)
    told = datetime.fromtimestamp(found, timezone.utc).strftime("%Y-%m-%d %H:%M") if found else None
    assert told == expected


def test_a_time_without_a_zone_is_this_machines() -> None:
    found = reset_time("You've hit your limit · resets 1am", NOW)
    assert found is not None and 0 < found - NOW <= 25 * 3600
    assert datetime.fromtimestamp(found).hour == 1
