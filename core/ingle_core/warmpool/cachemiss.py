"""Why an engine that starts finds no weights or compile cache on its node: the reason, and whether others have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ingle_core.warmpool.cachekey import compile_key, split_key

WeightsReason = Literal["NowhereYet", "OnOtherNode", "Partial"]
CompileReason = Literal["NowhereYet", "OnOtherNode", "OtherHardware"]
NAMED_MAX: Final = 3


@dataclass(frozen=True)
class Disk:
    """What one node has: names of whole and of partial copies of weights, keys of compile caches."""

    whole: frozenset[str] = frozenset()
    partial: frozenset[str] = frozenset()
    compiled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Miss:
    """`text` for people; `elsewhere`: some node has it, so a better choice or a copy would have helped."""

    reason: str
    text: str
    elsewhere: bool


def weights_miss(name: str, node: str, disks: Mapping[str, Disk]) -> Miss | None:
    """None where the node has a whole copy."""
    here = disks.get(node, Disk())
    if name in here.whole:
        return None
    others = sorted(other for other, disk in disks.items() if other != node and name in disk.whole)
    if name in here.partial:
        reason: WeightsReason = "Partial"
        return Miss(reason, f"node {node} has only a part of the weights {name}", bool(others))
    if others:
        reason = "OnOtherNode"
        return Miss(reason, f"node {node} has no weights {name}, {_named(others)} would have had them", True)
    reason = "NowhereYet"
    return Miss(reason, f"no node has the weights {name} on its disk", False)


def compile_miss(base: str, hardware: str, node: str, disks: Mapping[str, Disk]) -> Miss | None:
    """None where the node has the key of `base` for this hardware, or one that does not say for which."""
    here = disks.get(node, Disk()).compiled
    key = compile_key(base, hardware)
    if key in here or base in here:
        return None
    others = sorted(other for other, disk in disks.items() if other != node and key in disk.compiled)
    if others:
        reason: CompileReason = "OnOtherNode"
        return Miss(
            reason, f"node {node} has no compile cache {key}, {_named(others)} would have had it", True
        )
    made_for = sorted((made, at == node, at) for at, made in _hardware(base, disks))
    if made_for:
        found, _, at = next((one for one in made_for if one[1]), made_for[0])
        reason = "OtherHardware"
        return Miss(
            reason, f"node {at} has compile cache {base} for {found}, wanted {hardware} on {node}", True
        )
    reason = "NowhereYet"
    return Miss(reason, f"no node has a compile cache {base}", False)


def _hardware(base: str, disks: Mapping[str, Disk]) -> list[tuple[str, str]]:
    """Node and hardware of every cache of that base."""
    split = ((node, split_key(key)) for node, disk in disks.items() for key in disk.compiled)
    return [(node, hardware) for node, (found, hardware) in split if found == base and hardware]


def _named(nodes: list[str]) -> str:
    more = len(nodes) - NAMED_MAX
    return ", ".join(nodes[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
