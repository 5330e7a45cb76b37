"""What to change where Pod Security admission refuses an engine. Pure."""

from __future__ import annotations

import re
from typing import Final

_REFUSED = re.compile(r'violates PodSecurity "(?P<level>[a-z]+):[^"]*": (?P<why>.*)', re.DOTALL)
_ADVICE: Final = (
    (
        "runAsNonRoot",
        "set spec.template.securityContext.runAsUser to a user id that the image can run as, or runAsNonRoot: true where"
        " the image names such a user itself",
    ),
    (
        "hostPath",
        "set spec.engine.nodeCache: false, since compile caches and copies of weights on nodes are hostPath volumes",
    ),
)


def advice(message: str) -> str:
    """What a pool's owner can change, by the API server's words; empty where Pod Security did not refuse."""
    found = _REFUSED.search(message)
    if found is None:
        return ""
    known = [text for word, text in _ADVICE if word in found["why"]]
    changes = "; ".join(known) or "the namespace must allow more"
    return f"Pod Security {found['level']} of the namespace refuses engines: {changes}"
