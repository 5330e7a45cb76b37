"""Changes of a ledger as JSON Patch operations: pure, idempotent per pod UID, guarded by the revision.

Every non-empty list begins with a test of `/spec/revision` and raises it by one; lists are replaced whole,
since they are atomic in the API. An empty list means that nothing has to be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from ingle_core.ledger.records import Claim, Gpu, Holder, HostClaim, Ledger, State, Zone

Op = dict[str, Any]
_FIELDS = {
    "gpus": "gpus",
    "zones": "zones",
    "pods": "pods",
    "watts_allotted": "wattsAllotted",
    "watts_safe": "wattsSafe",
}


class LedgerError(ValueError):
    """The change makes no sense on this ledger; `reason` is UnknownGPU, UnknownZone or NoClaim."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PodRef(NamedTuple):
    """The pod that a claim belongs to; `pool` is namespace/name."""

    uid: str
    pool: str


def claim(
    ledger: Ledger,
    pod: PodRef,
    gpus: Sequence[str],
    *,
    memory_mib: int,
    watts: int,
    state: State = "Starting",
    host_zone: int | None = None,
    host_mib: int = 0,
    epoch: int = 0,
    at: str = "",
) -> list[Op]:
    """Gives `pod` memory and watts on each of `gpus` (UUIDs) and host memory in one zone.

    The watts of a MIG instance are claimed on its parent's entry, where those of all its instances add up.
    A pod that holds something here already keeps exactly that: no operations. LedgerError for an unknown GPU
    or zone.
    """
    if ledger.holder(pod.uid):
        return []
    _known_gpus(ledger, gpus)
    shares = _shares(ledger, pod.uid, gpus, memory_mib, watts)
    changed = tuple(
        msgspec.structs.replace(g, claims=(*g.claims, shares[g.uuid])) if g.uuid in shares else g
        for g in ledger.gpus
    )
    zones = _host(ledger, pod.uid, host_zone, host_mib)
    pods = (*ledger.pods, Holder(pod.uid, pod.pool, state, epoch, at))
    return _operations(ledger, gpus=changed, zones=zones, pods=pods)


def move(
    ledger: Ledger,
    pod_uid: str,
    state: State,
    *,
    memory_mib: int,
    watts: int,
    host_zone: int | None = None,
    host_mib: int | None = None,
    epoch: int = 0,
    at: str = "",
) -> list[Op]:
    """Changes a pod's state and what it is charged per GPU; host memory stays when `host_mib` is None.

    The same state and charges give no operations, whatever `epoch` and `at`. LedgerError when the pod holds
    nothing here.
    """
    holder = ledger.holder(pod_uid)
    if holder is None:
        raise LedgerError("NoClaim", f"pod {pod_uid} holds nothing in this ledger: claim first")
    shares = _shares(ledger, pod_uid, ledger.gpus_of(pod_uid), memory_mib, watts)
    gpus = tuple(
        msgspec.structs.replace(
            g, claims=tuple(shares[g.uuid] if c.pod_uid == pod_uid else c for c in g.claims)
        )
        for g in ledger.gpus
    )
    zones = ledger.zones if host_mib is None else _host(ledger, pod_uid, host_zone, host_mib)
    if (gpus, zones, holder.state) == (ledger.gpus, ledger.zones, state):
        return []
    moved = Holder(pod_uid, holder.pool, state, epoch, at)
    return _operations(
        ledger, gpus=gpus, zones=zones, pods=tuple(moved if p.uid == pod_uid else p for p in ledger.pods)
    )


def release(ledger: Ledger, pod_uid: str, judged_at: str | None = None) -> list[Op]:
    """Takes away all that a pod holds here.

    `judged_at`: the time that its claim bore when somebody found it to be an orphan; one that bears another time by
    now was renewed or moved meanwhile, and stays.
    """
    holder = ledger.holder(pod_uid)
    if judged_at is not None and (holder is None or holder.at != judged_at):
        return []
    gpus = tuple(
        msgspec.structs.replace(g, claims=tuple(c for c in g.claims if c.pod_uid != pod_uid))
        for g in ledger.gpus
    )
    zones = _host(ledger, pod_uid, None, 0)
    return _operations(ledger, gpus=gpus, zones=zones, pods=tuple(p for p in ledger.pods if p.uid != pod_uid))


def set_allotment(ledger: Ledger, watts: int | None, safe: int | None) -> list[Op]:
    """Sets what the node's GPUs may use together now (`watts`) and alone (`safe`), in W; None lifts a limit."""
    return _operations(ledger, watts_allotted=watts, watts_safe=safe)


def set_gpus(ledger: Ledger, gpus: Iterable[Gpu], zones: Iterable[Zone] | None = None) -> list[Op]:
    """Takes over what the node has now; claims in the arguments are ignored, those of the ledger stay.

    A GPU or zone that is gone stays with 0 MiB as long as something is claimed on it, and is dropped after.
    """
    held = {g.uuid: g for g in ledger.gpus}
    found = [msgspec.structs.replace(g, claims=held[g.uuid].claims if g.uuid in held else ()) for g in gpus]
    names = {g.uuid for g in found}
    gone = [
        msgspec.structs.replace(g, allocatable_mib=0) for g in ledger.gpus if g.claims and g.uuid not in names
    ]
    after = ledger.zones if zones is None else _merged_zones(ledger, zones)
    return _operations(ledger, gpus=(*found, *gone), zones=after)


def applied(ledger: Ledger, ops: Sequence[Op]) -> Ledger:
    """The ledger after `ops` of this module, as the API server will store it."""
    spec: dict[str, Any] = ledger.to_dict()
    for op in ops:
        field = str(op["path"]).removeprefix("/spec/")
        if op["op"] == "remove":
            spec.pop(field, None)
        elif op["op"] != "test":
            spec[field] = op["value"]
    return Ledger.from_dict(spec)


def difference(before: Ledger, after: Ledger) -> list[Op]:
    """One change that makes `after` of `before`, whatever the revision of `after`."""
    return _operations(before, **{name: getattr(after, name) for name in _FIELDS})


def _merged_zones(ledger: Ledger, zones: Iterable[Zone]) -> tuple[Zone, ...]:
    held = {z.zone: z for z in ledger.zones}
    found = [msgspec.structs.replace(z, claims=held[z.zone].claims if z.zone in held else ()) for z in zones]
    names = {z.zone for z in found}
    gone = [
        msgspec.structs.replace(z, allocatable_mib=0)
        for z in ledger.zones
        if z.claims and z.zone not in names
    ]
    return (*found, *gone)


def _shares(
    ledger: Ledger, pod_uid: str, gpus: Sequence[str], memory_mib: int, watts: int
) -> dict[str, Claim]:
    """The pod's claim by entry: a whole GPU carries both, a MIG instance MiB and its parent the watts."""
    wanted = set(gpus)
    instances = [g for g in ledger.gpus if g.uuid in wanted and g.parent]
    shares = {uuid: Claim(pod_uid, memory_mib, watts) for uuid in wanted}
    for g in instances:
        shares[g.uuid] = Claim(pod_uid, memory_mib, 0)
    for g in instances:
        held = shares.get(str(g.parent), Claim(pod_uid, 0, 0))
        shares[str(g.parent)] = msgspec.structs.replace(held, watts=held.watts + watts)
    return shares


def _known_gpus(ledger: Ledger, gpus: Sequence[str]) -> None:
    known = {g.uuid: g.parent for g in ledger.gpus}
    for uuid in gpus:
        if uuid not in known or (known[uuid] and known[uuid] not in known):
            what = f"the parent of MIG instance {uuid}" if uuid in known else f"GPU {uuid}"
            raise LedgerError("UnknownGPU", f"{what} is not in this node's ledger")


def _host(ledger: Ledger, pod_uid: str, zone: int | None, mib: int) -> tuple[Zone, ...]:
    """Zones with the pod's host memory in `zone` only; its place in a zone's list is kept."""
    if mib > 0 and zone not in {z.zone for z in ledger.zones}:
        raise LedgerError("UnknownZone", f"NUMA zone {zone} is not in this node's ledger")
    return tuple(_with_host(z, pod_uid, mib if z.zone == zone else 0) for z in ledger.zones)


def _with_host(zone: Zone, pod_uid: str, mib: int) -> Zone:
    wanted = HostClaim(pod_uid, mib)
    if mib > 0 and any(c.pod_uid == pod_uid for c in zone.claims):
        claims = tuple(wanted if c.pod_uid == pod_uid else c for c in zone.claims)
    else:
        claims = tuple(c for c in zone.claims if c.pod_uid != pod_uid) + ((wanted,) if mib > 0 else ())
    return msgspec.structs.replace(zone, claims=claims)


def _json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))  # to_builtins would leave tuples


def _operations(ledger: Ledger, **fields: Any) -> list[Op]:
    changes: list[Op] = []
    for name, value in fields.items():
        before = getattr(ledger, name)
        if value == before:
            continue
        path = f"/spec/{_FIELDS[name]}"
        if value is None:
            changes.append({"op": "remove", "path": path})
        else:  # "add" also replaces, and does not mind that the field is absent
            changes.append({"op": "add", "path": path, "value": _json(value)})
    if not changes:
        return []
    test = {"op": "test", "path": "/spec/revision", "value": ledger.revision}
    return [test, {"op": "replace", "path": "/spec/revision", "value": ledger.revision + 1}, *changes]
