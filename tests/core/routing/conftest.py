"""Small worlds for the routing decision."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_core.routing import Caller, Directory, Endpoint, Load, Policy, Pool, Request, directory_of

ALICE = Caller("alice", ("team-a",))


class World:
    """Pools, policies and engines that a test names in a line each."""

    def __init__(self) -> None:
        self.pools: list[Pool] = []
        self.policies: list[Policy] = []
        self.loads: dict[str, Load] = {}

    def pool(self, name: str, *endpoints: Endpoint, waiting: int = 0, **more: Any) -> Pool:
        fields = {"namespace": "chat", "model": f"org/{name}"} | more
        pool = Pool(name=name, **fields)
        self.pools.append(pool)
        self.loads[pool.key] = Load(endpoints, waiting)
        return pool

    def policy(self, *models: str, **more: Any) -> None:
        fields = {"namespace": "chat", "name": f"p{len(self.policies)}"} | more
        self.policies.append(Policy(models=models, **fields))

    @property
    def directory(self) -> Directory:
        return directory_of(self.pools, self.policies)


def engine(uid: str = "e", **more: Any) -> Endpoint:
    fields = {"pool": "chat/llama", "address": f"{uid}:8000", "awake": True} | more
    return Endpoint(uid, **fields)


def asked(model: str = "org/llama", **more: Any) -> Request:
    fields = {"caller": ALICE, "path": "/v1/chat/completions"} | more
    return Request(model=model, **fields)


@pytest.fixture
def world() -> World:
    return World()
