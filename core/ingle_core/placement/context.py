"""What a choice looks at beside the pod and the nodes; a scorer whose part is missing is left out."""

from __future__ import annotations

from dataclasses import dataclass

from ingle_core.placement.conflict import Conflicts
from ingle_core.placement.fragmentation import Fragmentation
from ingle_core.placement.mix import Cpu


@dataclass(frozen=True)
class Context:
    """Facts about the cluster's models, not about nodes. Everything is optional.

    `fragmentation`: by the mix of what is typically asked; the same one for every `rank` over the same columns.
    `cpu`: what the pod asks and nodes have left, for `fragmentation`.
    `conflicts`: by when pools are wanted; the same one for every `rank` over the same columns.
    """

    fragmentation: Fragmentation | None = None
    cpu: Cpu | None = None
    conflicts: Conflicts | None = None


NOTHING_ELSE = Context()
