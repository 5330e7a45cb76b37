"""Least request, with equals told apart by luck."""

from __future__ import annotations

from collections.abc import Sequence

from ingle_core.routing.facts import Endpoint

GUARD_S_MAX = 30.0


def candidates(endpoints: Sequence[Endpoint], subset: frozenset[str] | None, tokens: int) -> list[Endpoint]:
    """Pickable engines that the gateway allows. Where some have the context for `tokens`, only those.

    An estimate never refuses: where no engine is known to be long enough, all stay.
    """
    able = [e for e in endpoints if e.pickable and (subset is None or e.address in subset)]
    fitting = [e for e in able if not e.context_tokens or e.context_tokens >= tokens]
    return fitting or able


def pick(able: Sequence[Endpoint], now_s: float, tie: float) -> Endpoint:
    """The engine with the fewest requests in flight; one that failed lately only where all others did too.

    A failing engine has few requests in flight because it fails fast, so counts alone would send it more.
    """
    best: list[Endpoint] = []
    least = (True, 0)
    for endpoint in able:
        weight = (now_s < endpoint.failing_until_s, endpoint.in_flight)
        if not best or weight < least:
            best, least = [endpoint], weight
        elif weight == least:
            best.append(endpoint)
    return best[min(int(tie * len(best)), len(best) - 1)]


def guard_s(failures: int) -> float:
    """How long an engine is the last choice after its `failures`-th failure in a row: 1, 2, 4 … 30 seconds."""
    return min(2.0 ** min(max(failures, 1) - 1, 8), GUARD_S_MAX)
