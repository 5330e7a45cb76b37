"""What can go wrong, as one sentence for the person who asked, and the exit code that goes with it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ingle_kit.kube import Forbidden, KubeError, NotFound, Unavailable

EXIT_UNKNOWN: Final = 1
EXIT_NOT_ASKED: Final = 2

_REFUSED = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)


class Failure(Exception):
    """Ends the command. `code`: EXIT_UNKNOWN (there is no such thing) or EXIT_NOT_ASKED (nobody could be asked)."""

    def __init__(self, sentence: str, code: int = EXIT_NOT_ASKED) -> None:
        super().__init__(sentence)
        self.sentence, self.code = sentence, code


def failure(errors: Iterable[KubeError], server: str) -> Failure:
    """One sentence for refusals of one question or of several asked together; the gravest counts.

    `errors` has at least one member.
    """
    known = list(errors)
    for kind in (Unavailable, NotFound):
        first = next((error for error in known if isinstance(error, kind)), None)
        if first is not None:
            return Failure(_of_one(first, server))
    refused = [error for error in known if isinstance(error, Forbidden)]
    return Failure(_of_refusals(refused, server) if refused else _of_one(known[0], server))


def is_missing_right(error: Forbidden) -> bool:
    """Whether the caller lacks a right or an identity, not an admission rule that says no."""
    return error.status == 401 or _REFUSED.search(error.message) is not None


def _of_one(error: KubeError, server: str) -> str:
    if isinstance(error, NotFound):
        return f"{server} does not know Ingle's objects: install Ingle there, or choose another --context."
    if error.status == 0:
        detail = error.message.partition(": ")[2] or error.reason
        return (
            f"Cannot reach the API server {server}: {detail}. Check the connection, KUBECONFIG and --context."
        )
    return f"The API server {server} answered {error.status} {error.reason}: {error.message}"


def _of_refusals(errors: list[Forbidden], server: str) -> str:
    if any(error.status == 401 for error in errors):
        return f"{server} does not accept your credentials: log in again or choose another --context."
    found = [match for error in errors if (match := _REFUSED.search(error.message))]
    if not found:
        return f"{server} forbids it: {errors[0].message}"
    rights = ", ".join(sorted({_right(match) for match in found}))  # answers come in any order
    return f"{found[0]['user']} may not {rights}: ask for that right, or choose another --context."


def _right(match: re.Match[str]) -> str:
    resource = f"{match['resource']}.{match['group']}" if match["group"] else match["resource"]
    where = f" in namespace {match['namespace']}" if match["namespace"] else ""
    return f"{match['verb']} {resource}{where}"
