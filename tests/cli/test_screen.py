"""What `status` and `explain` print, from objects alone; the command itself is in test_command.py."""

from __future__ import annotations

import io
from typing import Any

import pytest

from ingle_cli.explain.pool import pool_text
from ingle_cli.explain.reason import reason_text
from ingle_cli.failures import Failure, failure
from ingle_cli.objects import verdict
from ingle_cli.status import Cluster, screen, summarise
from ingle_cli.status.screen import LINES_MAX, ROWS_MAX, shares
from ingle_cli.text import age, cell, clean, console, rendered
from ingle_kit.kube import Forbidden, Unavailable
from ingle_kit.objects.reasons import EXPLANATIONS

NOW_S = 1_800_000_000.0
TEN_S_AGO = "2027-01-15T07:59:50Z"

STATUS = """\
Operator: ingle-operator-0 leads (epoch 4), lease renewed 10 s ago.

POOL      AWAKE  ASLEEP  STARTING  WANTED  WAITING  WATTS  READY    REASON
llama-8b      1       1         0       2        3    430  False    InsufficientWatts
new           0       0         0       0        0      0  Unknown  NotSeenYet

NODE        GPUS  MIB CLAIMED/OF  WATTS CHARGED/OF  AGENT          READY    REASON
gpu-1  2 (1 bad)    42000/158000          530/4300  10 s ago       True     Reporting
gpu-2          0             0/0             0/any  silent always  Unknown  NotSeenYet

BUDGET  WATTS    CAP  ALLOTTED  DRAW  NODES  STATE     READY  REASON
hall     7000  10500      9000     -      3  Lowering  False  Lowering

POLICY  MODELS  FALLBACK  ACCEPTED  REASON
team         2  llama-8b  False     InvalidExpression

Why: ingle explain pool/llama-8b -n chat
"""


def shown(parts: Any, columns: int = 100) -> str:
    return rendered(parts, console(io.StringIO(), columns=columns))


def said(type_: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"type": type_, "status": status, "reason": reason, "message": message} | {
        "lastTransitionTime": TEN_S_AGO,
        "observedGeneration": 1,
    }


def named(name: str, namespace: str | None = None) -> dict[str, Any]:
    return {"name": name, "uid": name, "generation": 1} | ({"namespace": namespace} if namespace else {})


def pool(name: str, **status: Any) -> dict[str, Any]:
    return {"metadata": named(name, "chat"), "spec": {"model": f"example/{name}"}, "status": status}


def cluster() -> Cluster:
    llama = pool(
        "llama-8b",
        replicas={"awake": 1, "asleep": 1, "wanted": 2},
        waiting=3,
        conditions=[said("Ready", "False", "InsufficientWatts", "gpu-1: 430 W asked, 120 W spare")],
    )
    claim = {"podUID": "u", "memoryMiB": 42000, "watts": 430}
    holder = {"uid": "u", "pool": "chat/llama-8b", "state": "Awake", "epoch": 1, "at": TEN_S_AGO}
    gpus = [
        {"uuid": "GPU-a", "allocatableMiB": 79000, "floorWatts": 100, "claims": [claim]},
        {"uuid": "GPU-b", "allocatableMiB": 79000, "floorWatts": 100, "claims": []},
    ]
    seen = [{"uuid": u, "health": h, "product": "H100"} for u, h in (("GPU-a", "Healthy"), ("GPU-b", "Lost"))]
    node = {
        "metadata": named("gpu-1"),
        "spec": {"revision": 1, "wattsAllotted": 4300, "gpus": gpus, "zones": [], "pods": [holder]},
        "status": {
            "heartbeatAt": TEN_S_AGO,
            "gpus": seen,
            "conditions": [said("Ready", "True", "Reporting")],
        },
    }
    budget = {
        "metadata": named("hall"),
        "spec": {"watts": 7000},
        "status": {"capWatts": 10500, "allottedWatts": 9000, "nodes": 3, "state": "Lowering"}
        | {"conditions": [said("Ready", "False", "Lowering")]},
    }
    policy = {
        "metadata": named("team", "chat"),
        "spec": {"models": ["a", "b"], "fallback": {"pool": "llama-8b"}},
        "status": {"conditions": [said("Accepted", "False", "InvalidExpression", "permissions[0]: no")]},
    }
    lease = {
        "spec": {"holderIdentity": "ingle-operator-0_uid", "leaseTransitions": 4}
        | {"renewTime": "2027-01-15T07:59:50.000000Z", "leaseDurationSeconds": 15}
    }
    bare = {"metadata": named("gpu-2"), "spec": {"revision": 0, "gpus": []}}
    return Cluster([pool("new"), llama], [node, bare], [budget], [policy], lease)


def test_the_screen_shows_every_kind_of_object() -> None:
    summary = summarise(cluster(), namespace="chat", now_s=NOW_S)

    assert shown(screen(summary)) == STATUS


def test_with_v_each_message_stands_under_its_table() -> None:
    text = shown(screen(summarise(cluster(), namespace="chat", now_s=NOW_S), verbose=True))

    assert "  llama-8b: gpu-1: 430 W asked, 120 W spare\n" in text
    assert "  team: permissions[0]: no\n" in text


def test_a_thousand_pools_fit_one_screen_and_the_troubled_ones_are_on_it() -> None:
    many = [pool(f"p{i:04}", conditions=[said("Ready", "True", "Serving")]) for i in range(1000)]
    many[700] = pool("p0700", waiting=9, conditions=[said("Ready", "False", "WakeFailed")])
    full = cluster()
    summary = summarise(
        Cluster(many, (full.nodes or []) * 9, full.budgets, full.policies, full.lease),
        namespace="chat",
        now_s=NOW_S,
    )
    lines = shown(screen(summary)).splitlines()

    assert len(lines) <= LINES_MAX
    assert lines[3].split() == ["p0700", "0", "0", "0", "0", "9", "0", "False", "WakeFailed"]
    assert any("pools more:" in line and "Serving (-v lists all)" in line for line in lines)
    assert sum(line.startswith("p0") for line in shown(screen(summary, verbose=True)).splitlines()) == 1000


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_long_names_are_cut_and_never_take_a_second_line(columns: int) -> None:
    long = pool("p" * 52, conditions=[said("Ready", "False", "InsufficientHostMemory")])
    summary = summarise(Cluster([long] * 30, [], [], [], {}), namespace=None, now_s=NOW_S)
    lines = shown(screen(summary), columns).splitlines()

    assert len(lines) <= LINES_MAX
    assert max(len(line) for line in lines) <= columns


def test_deep_sleepers_and_what_is_wrong_beside_ready_are_on_the_line() -> None:
    conditions = [said("Ready", "True", "Serving"), said("Stalled", "True", "EngineNeverReady", "3 failed")]
    engines = [{"pod": f"x-{state}", "state": state} for state in ("Awake", "AsleepL1", "AsleepL2")]
    stuck = pool("x", replicas={"awake": 1, "asleep": 2}, engines=engines, conditions=conditions)
    summary = summarise(Cluster(pools=[stuck]), namespace="chat", now_s=NOW_S)
    row = "x         1  2 (1 L2)         0       0        0      -  True   Serving+EngineNeverReady"

    assert row in shown(screen(summary)).splitlines()
    assert "  x: Stalled True: 3 failed; engines: 1 AsleepL1, 1 AsleepL2, 1 Awake\n" in shown(
        screen(summary, verbose=True)
    )


def test_rows_are_shared_so_that_no_kind_is_crowded_out() -> None:
    assert shares([1000, 1000, 1000, 1000]) == [ROWS_MAX - 9, 3, 3, 3]
    assert shares([2, 1000, 0, 1]) == [2, ROWS_MAX - 3, 0, 1]
    assert shares([2, 3, 1, 1]) == [2, 3, 1, 1]


def test_what_could_not_be_read_is_not_said_to_be_absent() -> None:
    text = shown(screen(summarise(Cluster(pools=[]), namespace="chat", now_s=NOW_S)))

    assert text == "No InferencePools in namespace chat (-A: all).\n"


def test_a_lease_that_ran_out_is_told() -> None:
    lease = {"spec": {"holderIdentity": "op_1", "renewTime": TEN_S_AGO, "leaseDurationSeconds": 5}}
    text = shown(screen(summarise(Cluster(lease=lease), namespace=None, now_s=NOW_S)))

    assert text == "Operator: op let its lease run out, last renewed 10 s ago.\n"


def test_a_condition_of_an_older_generation_is_not_believed() -> None:
    changed = pool("x", conditions=[said("Ready", "True", "Serving")])
    changed["metadata"]["generation"] = 2

    assert verdict(changed, "Ready")[:2] == ("Unknown", "NotSeenYet")


def test_a_pool_is_explained_with_what_its_reasons_mean() -> None:
    engine = {"pod": "x-1", "state": "Pending", "reason": "InsufficientWatts", "message": "no watts on gpu-1"}
    waiting = pool(
        "x", engines=[engine], conditions=[said("Ready", "False", "InsufficientWatts", "no watts on gpu-1")]
    )
    event = {"type": "Normal", "reason": "Started", "message": "new engine", "lastTimestamp": TEN_S_AGO}
    text = shown(pool_text(waiting, [event | {"metadata": {}}], NOW_S))

    assert text.startswith("Pool chat/x (example/x): not ready\n")
    assert "Ready      False   10 s   InsufficientWatts  no watts on gpu-1\n" in text
    assert "x-1     Pending  never  -     -     InsufficientWatts\n  x-1: no watts on gpu-1\n" in text
    assert "10 s  Normal  Started  new engine\n" in text
    assert text.count("  InsufficientWatts: The node's share of a PowerBudget") == 1


@pytest.mark.parametrize("reason", EXPLANATIONS)
def test_every_reason_is_explained(reason: str) -> None:
    assert shown(reason_text(reason.upper())).startswith(f"{reason}\n  Where: ")


def test_an_unknown_reason_is_answered_with_near_ones() -> None:
    with pytest.raises(Failure, match="did you mean InsufficientWatts") as problem:
        reason_text("InsuficientWatt")
    assert problem.value.code == 1


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    assert clean("a\x1b[31m\nb\x07") == "a?[31m b?"
    assert rendered([cell("[red]x[/red]")], console(io.StringIO())) == "[red]x[/red]\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "never"), (-3, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (9e5, "10 d")],
)
def test_ages_are_short(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


def test_rights_that_lack_are_one_sentence() -> None:
    def refused(resource: str, where: str) -> Forbidden:
        text = f'User "ann" cannot list resource "{resource}" in API group "ingle.dev" {where}'
        return Forbidden(403, "Forbidden", f"{resource} is forbidden: {text}")

    errors = [refused("gpunodes", "at the cluster scope"), refused("pools", 'in the namespace "chat"')]

    assert failure(errors, "https://x").sentence == (
        "ann may not list gpunodes.ingle.dev, list pools.ingle.dev in namespace chat: ask for that right, or choose"
        " another --context."
    )


def test_a_lost_connection_is_graver_than_a_right_that_lacks() -> None:
    errors = [Forbidden(403, "Forbidden", "no"), Unavailable(0, "TimeoutError", "GET /x: too slow")]

    assert failure(errors, "https://x").sentence.startswith(
        "Cannot reach the API server https://x: too slow."
    )
