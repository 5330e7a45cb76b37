"""What this router knows of the cluster: pools, policies, engines and its own requests on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from ingle_core.routing import Directory, Endpoint, Load, Policy, directory_of
from ingle_core.routing.pick import guard_s
from ingle_router.enginereadings import EngineReadings
from ingle_router.found import Found
from ingle_router.rules import PORT_DEFAULT, EnginePod, PoolSpec

Key = tuple[str, str]
T = TypeVar("T")


class Waiting(Protocol):
    """How many requests wait for a pool, of those in line for it, how many each tenant has, and what is held in all."""

    def waiting(self, pool: str) -> int: ...

    def shares(self, pool: str) -> Mapping[str, int]: ...

    @property
    def held(self) -> int: ...

    @property
    def held_bytes(self) -> int: ...


class Cluster(Mapping[str, Load]):
    """Fed by three watches; as a mapping it is the moving part that `route` asks for, by pool key.

    `on_pod` is told a UID whenever an engine's awake condition changed or it came or went, `on_change` of whatever may
    let a held request go on, `on_demand` of whatever the demand stream tells.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pools: dict[Key, PoolSpec] = {}
        self._policies: dict[Key, Policy] = {}
        self._pods: dict[str, EnginePod] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._by_pool: dict[str, tuple[Endpoint, ...]] = {}
        self._directory: Directory | None = None
        self.readings = EngineReadings()
        self.waiting: Waiting | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.on_demand: Callable[[], None] = lambda: None
        self.on_pod: Callable[[str], None] = lambda uid: None

    # What decisions read.

    @property
    def directory(self) -> Directory:
        if self._directory is None:
            pools = [spec.pool for spec in self._pools.values()]
            self._directory = directory_of(pools, self._policies.values())
        return self._directory

    def __getitem__(self, pool: str) -> Load:
        endpoints = self._by_pool.get(pool, ())
        if self.waiting is None:
            return Load(endpoints)
        return Load(endpoints, self.waiting.waiting(pool), self.waiting.shares(pool))

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_pool)

    def __len__(self) -> int:
        return len(self._by_pool)

    def found(self, pool: str) -> Found:
        """What a request finds there that no engine takes at once."""
        spec = self._pools.get(_key(pool))
        return "cold" if spec is None else spec.found

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """All engines by pod UID, also those that are gone while requests of ours are still on them."""
        return self._endpoints

    # What the watches report: (key, old, new), new None for a deletion.

    def on_pool(self, key: Key, _: PoolSpec | None, new: PoolSpec | None) -> None:
        if new == self._pools.get(key):
            return  # most changes of a status say nothing to us, and there may be thousands who wait
        _put(self._pools, key, new)
        self._directory = None
        for uid, pod in self._pods.items():
            if pod.pool == "/".join(key):
                self._refresh(uid)
        self._announce()

    def on_policy(self, key: Key, _: Policy | None, new: Policy | None) -> None:
        _put(self._policies, key, new)
        self._directory = None
        self._announce()

    def on_engine(self, _: Key, old: EnginePod | None, new: EnginePod | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            self._pods.pop(old.uid, None)
            self._leave(old.uid)
        if new is None:
            return
        self._pods[new.uid] = new
        fresh = old is None or old.uid != new.uid or old.version != new.version
        if fresh and new.uid in self._endpoints:
            self._endpoints[new.uid].asleep_by_gauge = None
        self._refresh(new.uid)
        if fresh:
            self.on_pod(new.uid)

    def on_gauge(self, uid: str, asleep: bool | None) -> None:
        endpoint = self._endpoints.get(uid)
        if endpoint is not None and endpoint.asleep_by_gauge is not asleep:
            before = endpoint.pickable
            endpoint.asleep_by_gauge = asleep
            self._compare(before, endpoint)

    # Our own requests on an engine.

    def take(self, endpoint: Endpoint) -> None:
        endpoint.in_flight += 1

    def release(self, endpoint: Endpoint) -> None:
        endpoint.in_flight -= 1
        if endpoint.in_flight == 0:
            if endpoint.leaving and endpoint.pod_uid not in self._pods:
                self._forget(endpoint)
            self.on_demand()

    def failed(self, endpoint: Endpoint) -> None:
        endpoint.failures += 1
        endpoint.failing_until_s = self._clock() + guard_s(endpoint.failures)

    def succeeded(self, endpoint: Endpoint) -> None:
        endpoint.failures = 0
        endpoint.failing_until_s = 0.0

    def _refresh(self, uid: str) -> None:
        pod = self._pods[uid]
        spec = self._pools.get(_key(pod.pool))
        endpoint = self._endpoints.get(uid)
        if endpoint is None:
            endpoint = Endpoint(uid, pod.pool, "", seen_at_s=self._clock())
            self._endpoints[uid] = endpoint
            self._by_pool[pod.pool] = (*self._by_pool.get(pod.pool, ()), endpoint)
        before = endpoint.pickable
        port = spec.port if spec else PORT_DEFAULT
        endpoint.address = f"{pod.ip}:{port}" if pod.ip and ":" not in pod.ip else _v6(pod.ip, port)
        endpoint.awake, endpoint.ready, endpoint.leaving = pod.awake, pod.ready and pod.running, pod.leaving
        endpoint.context_tokens = spec.context_tokens.get(pod.variant, 0) if spec else 0
        self._compare(before, endpoint)

    def _leave(self, uid: str) -> None:
        endpoint = self._endpoints.get(uid)
        if endpoint is None:
            return
        endpoint.leaving = True
        if endpoint.in_flight == 0:
            self._forget(endpoint)
        self._announce()
        self.on_pod(uid)

    def _forget(self, endpoint: Endpoint) -> None:
        self._endpoints.pop(endpoint.pod_uid, None)
        self.readings.drop(endpoint.pod_uid)
        rest = tuple(e for e in self._by_pool.get(endpoint.pool, ()) if e is not endpoint)
        if rest:
            self._by_pool[endpoint.pool] = rest
        else:
            self._by_pool.pop(endpoint.pool, None)

    def _compare(self, before: bool, endpoint: Endpoint) -> None:
        if endpoint.pickable != before:
            self._announce()

    def _announce(self) -> None:
        self.on_change()
        self.on_demand()


def _key(pool: str) -> Key:
    namespace, _, name = pool.partition("/")
    return namespace, name


def _v6(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ip else ""


def _put(store: dict[Key, T], key: Key, new: T | None) -> None:
    if new is None:
        store.pop(key, None)
    else:
        store[key] = new
