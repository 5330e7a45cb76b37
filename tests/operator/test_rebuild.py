"""A ledger that was lost, from what runs there; without a server."""

from __future__ import annotations

from dataclasses import replace

from ingle_core.ledger import Ledger, applied
from ingle_kit.objects import GPUNodeStatus
from ingle_operator.need import Need
from ingle_operator.parse import EnginePod
from ingle_operator.reconcile.rebuild import rebuilt, taken_over


def engine(uid: str, gpu: str = "G0") -> EnginePod:
    need = Need(awake_mib=60_000, asleep_mib=2_000, host_mib=0, busy_w=300)
    words = ("a", uid), uid, "a/b", "v", "r", "n", "http://x", (gpu,), "Running"
    return EnginePod(*words, ready=True, gate=True, deleting=False, created_at_s=0.0, need=need)


def status(foreign_mib: int) -> GPUNodeStatus:
    memory = {"total": 80_000, "free": 80_000 - foreign_mib, "foreign": foreign_mib}
    gpu = {"uuid": "G0", "index": 0, "product": "H100", "memoryMiB": memory}
    return GPUNodeStatus.model_validate({"gpus": [gpu]})


def test_an_engine_whose_claim_was_lost_is_no_stranger_though_the_agent_counts_it_as_one() -> None:
    empty = Ledger(1)
    ops = rebuilt(empty, status(60_000), False, [engine("p")], epoch=1, now_s=0.0)
    ledger = applied(empty, ops)
    assert (ledger.gpus[0].allocatable_mib, ledger.gpus[0].claimed_mib) == (80_000, 60_000)
    seen_again = applied(ledger, taken_over(ledger, status(5_000), False))
    assert seen_again.gpus[0].allocatable_mib == 75_000


def test_strangers_beside_it_still_count_and_those_that_have_claims_are_no_excuse() -> None:
    empty = Ledger(1)
    first = applied(empty, rebuilt(empty, status(70_000), False, [engine("p")], epoch=1, now_s=0.0))
    assert first.gpus[0].allocatable_mib == 70_000
    again = applied(first, rebuilt(first, status(20_000), False, [engine("p")], epoch=1, now_s=0.0))
    assert again.gpus[0].allocatable_mib == 60_000


def test_sleepers_that_share_the_gpu_of_one_that_serves_keep_what_they_sleep_with() -> None:
    sleepers = [replace(engine(uid), gate=False) for uid in ("s", "t")]
    pods = [*sleepers, engine("serves")]
    empty = Ledger(1)
    ledger = applied(empty, rebuilt(empty, status(64_000), False, pods, epoch=1, now_s=0.0))
    held = {claim.pod_uid: claim.memory_mib for claim in ledger.gpus[0].claims}
    assert held == {"serves": 60_000, "s": 2_000, "t": 2_000}
    assert {pod.uid: pod.state for pod in ledger.pods} == {
        "serves": "Awake",
        "s": "Sleeping",
        "t": "Sleeping",
    }
