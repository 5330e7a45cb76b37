"""From the names that clients send to pools, and from pools to the policies that govern them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ingle_core.routing.facts import Policy, Pool


@dataclass(frozen=True, slots=True)
class Directory:
    """Pools and policies of one moment. Keys are `namespace/name`; build it with `directory_of`."""

    pools: Mapping[str, Pool] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    governed: Mapping[str, tuple[Policy, ...]] = field(default_factory=dict)
    listed: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, model: str) -> Pool | None:
        """The pool that answers to a model name, None where there is none."""
        key = self.names.get(model)
        return None if key is None else self.pools[key]

    def policies_of(self, pool: Pool) -> tuple[Policy, ...]:
        """The policies that name this pool's model by any of its names, oldest first."""
        return self.governed.get(pool.key, ())


def directory_of(pools: Iterable[Pool], policies: Iterable[Policy]) -> Directory:
    """Gives every name to one pool.

    `namespace/pool` always means that pool; `namespace/model` the oldest of that namespace; a bare name
    the oldest of the cluster. A name with its namespace wins over an equal bare one, so that a pool whose
    model is called `chat/llama` cannot take the place of `llama` in `chat`.
    """
    ordered = sorted(pools, key=lambda pool: (pool.created, pool.key))
    names: dict[str, str] = {pool.key: pool.key for pool in ordered}
    for of in (_own, _aliases):
        for pool in ordered:
            for name in of(pool):
                names.setdefault(f"{pool.namespace}/{name}", pool.key)
    listed: dict[str, str] = {}
    for of in (_own, _aliases):
        for pool in ordered:
            for name in of(pool):
                if names.setdefault(name, pool.key) == pool.key:
                    listed[name] = pool.key
    for pool in ordered:
        if pool.key not in listed.values():
            listed[pool.key] = pool.key
    return Directory({pool.key: pool for pool in ordered}, names, _governed(ordered, policies), listed)


def _own(pool: Pool) -> tuple[str, ...]:
    return (pool.model,)


def _aliases(pool: Pool) -> tuple[str, ...]:
    return pool.aliases


def _governed(pools: list[Pool], policies: Iterable[Policy]) -> dict[str, tuple[Policy, ...]]:
    """Any name of the pool makes the policy apply, so that an alias is no way around it."""
    ordered = sorted(policies, key=lambda policy: (policy.created, policy.key))
    governed: dict[str, tuple[Policy, ...]] = {}
    for pool in pools:
        bare = {pool.model, pool.name, *pool.aliases}
        called = bare | {f"{pool.namespace}/{name}" for name in bare}
        of_pool = tuple(p for p in ordered if p.namespace == pool.namespace and called.intersection(p.models))
        if of_pool:
            governed[pool.key] = of_pool
    return governed
