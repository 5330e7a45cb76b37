"""Messages of the telemetry streams, newline-delimited JSON; every message is a whole snapshot.

`at_s` is the sender's wall clock (Unix seconds), only for people: readers judge freshness by arrival.
"""

from __future__ import annotations

import msgspec

MIB = 1024 * 1024


class GpuProcess(msgspec.Struct, frozen=True):
    """One process on a GPU. `pod_uid` is empty where the process belongs to no pod of this node."""

    pid: int
    memory_mib: int
    pod_uid: str = ""


class GpuReading(msgspec.Struct, frozen=True):
    """One GPU as its driver reports it. Power is the driver's average of about one second."""

    uuid: str
    index: int
    product: str
    memory_total_mib: int
    memory_reserved_mib: int
    memory_free_mib: int
    draw_w: float
    limit_w: float
    enforced_w: float
    min_w: float
    max_w: float
    sm_mhz: int = 0
    energy_j: float = 0.0
    throttle: int = 0
    health: str = "Healthy"  # Healthy | Lost | Unreadable
    processes: tuple[GpuProcess, ...] = ()


class Measurement(msgspec.Struct, frozen=True):
    """`GET /v1/measurements` of an agent. `observed_revision`: the ledger revision whose caps are in force."""

    node: str
    boot_id: str
    sequence: int
    at_s: float
    gpus: tuple[GpuReading, ...]
    observed_revision: int = 0
    caps_in_force: bool = True


class EndpointDemand(msgspec.Struct, frozen=True):
    """One engine as this router sees it. `pickable`: new requests may be sent to it.

    The engine's own word, None where it is not heard: `queue`, requests inside it that do not run yet; `kv_percent` of its
    KV cache in use; `ttft_ms`, 90th percentile of the times to first token of the last minute, in ms.
    """

    pod_uid: str
    pickable: bool
    in_flight: int
    queue: int | None = None
    kv_percent: int | None = None
    ttft_ms: int | None = None


class PoolDemand(msgspec.Struct, frozen=True):
    """Demand for one pool since this router started; counters only grow."""

    pool: str  # namespace/name
    waiting: int
    in_flight: int
    oldest_wait_s: float = 0.0
    arrivals: int = 0
    last_arrival_at_s: float = 0.0


class Demand(msgspec.Struct, frozen=True):
    """`GET /v1/demand` of a router."""

    router: str  # pod name
    sequence: int
    at_s: float
    pools: tuple[PoolDemand, ...]
    endpoints: tuple[EndpointDemand, ...]
