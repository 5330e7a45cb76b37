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

    def apart(self) -> Context:
        """The same mix and profiles for other columns, whose rows have nothing to do with these."""
        fragmentation = None if self.fragmentation is None else Fragmentation(self.fragmentation.mix)
        conflicts = None if self.conflicts is None else self.conflicts.apart()
        return Context(fragmentation=fragmentation, conflicts=conflicts)


NOTHING_ELSE = Context()
