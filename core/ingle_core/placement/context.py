"""What a choice looks at beside the pod and the nodes; a scorer whose part is missing is left out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Context:
    """Facts about the cluster's models, not about nodes. Everything is optional."""


NOTHING_ELSE = Context()
