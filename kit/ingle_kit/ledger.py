"""Writes changes of a node's ledger (`GPUNode.spec`) to the API server, which refuses what does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ingle_core.ledger import Ledger, LedgerError, Op, fits
from ingle_kit.kube import Cause, Conflict, Invalid, Kube, NotFound
from ingle_kit.names import GPU_NODE

Plan = Callable[[Ledger], list[Op]]
Jitter = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Written:
    """The change is in the ledger. `obj` is the GPUNode after it; `changed` False: it was there before."""

    obj: dict[str, Any]
    ledger: Ledger
    changed: bool
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """The change is not in the ledger.

    `reason`: InsufficientMemory, InsufficientWatts, InsufficientHostMemory, UnknownGPU, UnknownZone, NoClaim,
    NoGPUNode, Conflicted (others kept writing; may be tried again), Unreadable or Invalid.
    """

    reason: str
    message: str
    field: str = ""
    conflicts: int = 0


async def write(
    kube: Kube,
    node: str,
    plan: Plan,
    *,
    attempts: int = 5,
    current: dict[str, Any] | None = None,
    jitter: Jitter | None = None,
) -> Written | Refused:
    """Applies what `plan` makes of the node's ledger, at most `attempts` times while others write in between.

    `current` is a cached GPUNode that saves the first read; a plan that finds nothing to do in it is checked
    against a live one. `jitter(n)` is how many seconds to wait after the n-th conflict. Raises a KubeError when the
    API server cannot be reached or forbids it: then the change may or may not have been made.
    """
    for attempt in range(attempts):
        cached = current if attempt == 0 else None
        step = await _planned(kube, node, plan, cached)
        if cached is not None and not (isinstance(step, _Step) and step.ops):
            step = await _planned(kube, node, plan, None)  # "nothing to do" and "cannot" need a live ledger
        if isinstance(step, Refused):
            return replace(step, conflicts=attempt)
        if not step.ops:
            return Written(step.obj, step.ledger, changed=False, conflicts=attempt)
        outcome = await _patch(kube, node, step)
        if outcome is not None:
            return replace(outcome, conflicts=attempt)
        if jitter is not None and attempt + 1 < attempts:
            await asyncio.sleep(jitter(attempt + 1))
    return Refused("Conflicted", f"others kept changing the ledger of {node}", "spec.revision", attempts)


@dataclass(frozen=True, slots=True)
class _Step:
    obj: dict[str, Any]
    ledger: Ledger
    ops: list[Op]


async def _planned(kube: Kube, node: str, plan: Plan, cached: dict[str, Any] | None) -> _Step | Refused:
    """What has to be written, by a cached object or a live one."""
    try:
        obj = cached if cached is not None else await kube.get(GPU_NODE, node)
        ledger = Ledger.from_dict(obj.get("spec") or {})
        return _Step(obj, ledger, plan(ledger))
    except NotFound:
        return Refused("NoGPUNode", f"there is no GPUNode {node}: its agent has not been seen yet")
    except LedgerError as error:
        return Refused(error.reason, str(error))
    except ValueError as error:
        return Refused("Unreadable", f"the ledger of {node} cannot be read: {error}", "spec")


def of_same_object(obj: dict[str, Any], ops: list[Op]) -> list[Op]:
    """`ops` for this GPUNode only: one of the same name that was made anew counts its revisions from the start."""
    return [*ops[:1], {"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]}, *ops[1:]]


async def _patch(kube: Kube, node: str, step: _Step) -> Written | Refused | None:
    """None: the ledger has changed since it was read."""
    try:
        obj = await kube.json_patch(GPU_NODE, node, of_same_object(step.obj, step.ops))
    except Conflict:
        return None
    except NotFound:
        return Refused("NoGPUNode", f"GPUNode {node} is gone")
    except Invalid as error:
        if not error.causes:
            return None
        return _refused(step, error.causes)
    return Written(obj, Ledger.from_dict(obj["spec"]), changed=True)


def _refused(step: _Step, causes: tuple[Cause, ...]) -> Refused:
    short = fits(step.ledger, step.ops)
    if short is not None:
        return Refused(short.reason, short.message, causes[0].field)
    text = "; ".join(f"{cause.field}: {cause.message}" for cause in causes)
    return Refused("Invalid", text, causes[0].field)
