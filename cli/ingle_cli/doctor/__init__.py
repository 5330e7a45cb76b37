"""`ingle doctor`: is everything there, does it run, and what to do where not."""

from __future__ import annotations

import msgspec

from ingle_cli.access import CallersKube
from ingle_cli.doctor.checks import findings
from ingle_cli.doctor.gather import read_facts
from ingle_cli.doctor.text import report, report_text
from ingle_cli.text import Shown

__all__ = ["doctor"]


async def doctor(kube: CallersKube, now_s: float, *, as_json: bool) -> tuple[Shown | str, bool]:
    """What to print, and whether nothing is wrong. Raises KubeError where nobody answers."""
    facts = await read_facts(kube, now_s)
    told = report(facts, findings(facts), kube.server)
    if as_json:
        return msgspec.json.format(msgspec.json.encode(told), indent=2).decode(), told.good
    return report_text(told), told.good
