"""`ingle explain node`: a GPU that is not ours says so in the place of its health."""

from __future__ import annotations

from typing import Any

import pytest

from ingle_cli.explain.account import account_of


@pytest.mark.parametrize(
    ("told", "allocatable", "shown"),
    [
        ({"heldBy": "Other"}, 0, "HeldByOther"),
        ({"heldBy": "Nobody"}, 0, "HeldByNobody"),
        ({"heldBy": "Nobody"}, 80000, "Healthy"),
        ({"heldBy": "Holder"}, 0, "Healthy"),
        ({"heldBy": "Other", "health": "Lost"}, 0, "Lost"),
        ({}, 80000, "Healthy"),
    ],
)
def test_what_keeps_a_gpu_from_being_ours_is_shown(
    told: dict[str, Any], allocatable: int, shown: str
) -> None:
    gpu = {"uuid": "GPU-a", "allocatableMiB": allocatable, "floorWatts": 100, "claims": []}
    memory = {"total": 81920, "free": 80000}
    node = {
        "metadata": {"name": "n1"},
        "spec": {"revision": 1, "gpus": [gpu], "zones": [], "pods": []},
        "status": {"gpus": [{"uuid": "GPU-a", "index": 0, "product": "H100", "memoryMiB": memory} | told]},
    }
    (account,) = account_of(node, None, {}, None, 0.0).gpus
    assert account.health == shown
