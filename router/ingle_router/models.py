"""`GET /v1/models`: what the caller may use."""

from __future__ import annotations

from typing import Any

from ingle_core.routing import Caller, Directory, Question, permit
from ingle_router.wire import PATHS


def models_for(caller: Caller, directory: Directory) -> dict[str, Any]:
    """OpenAI's list, by the names that reach each pool; a model counts if any of its paths is permitted."""
    allowed = {key for key, pool in directory.pools.items() if _may_use(caller, directory, key, pool.model)}
    rows = [
        {"id": name, "object": "model", "created": 0, "owned_by": key.partition("/")[0]}
        for name, key in directory.listed.items()
        if key in allowed
    ]
    return {"object": "list", "data": sorted(rows, key=lambda row: str(row["id"]))}


def _may_use(caller: Caller, directory: Directory, key: str, model: str) -> bool:
    policies = directory.policies_of(directory.pools[key])
    return any(permit(policies, Question(caller, model, path)).allowed for path in sorted(PATHS))
