#!/usr/bin/env python3
"""Calendar vectors that owe nothing to our own code: zoneinfo and calendar of Python's standard library.

Run it and compare: `python3 vectors.py | diff - vectors.json`. Times that a change of clocks skips come later by as much
as was skipped, of times that come twice the first counts (PEP 495, fold=0)."""

import calendar
import json
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

FIRST, LAST = date(2026, 12, 25), date(2028, 3, 10)
TIMES = ["01:30", "02:30", "06:00", "14:00", "22:00"]
ZONES = ["Europe/Amsterdam", "Europe/London"]


def epoch(zone, day, time):
    hour, minute = map(int, time.split(":"))
    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone), fold=0)
    return int(local.astimezone(timezone.utc).timestamp())


def last_second(zone, day):
    return epoch(zone, day + timedelta(days=1), "00:00") - 1


def months_later(day, months):
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


days = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
moments = {zone: {time: [epoch(zone, day, time) for day in days] for time in TIMES} for zone in ZONES}
ends = [date(2027, 1, 31), date(2027, 2, 28), date(2027, 3, 27), date(2027, 9, 30), date(2027, 12, 31), date(2028, 1, 30), date(2028, 1, 31), date(2028, 2, 29)]
purges = [
    {"zone": zone, "ends": str(day), "months": months, "gone_by": last_second(zone, months_later(day, months))}
    for zone in ZONES
    for day in ends
    for months in (1, 3)
]
print(json.dumps({"first": str(FIRST), "moments": moments, "purges": purges}, separators=(",", ":")))
