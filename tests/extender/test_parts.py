"""Parts of the extender that need no server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from ingle_core.placement import Ask, AskMemory, Assumed
from ingle_extender.assumptions import Assumptions, Pending
from ingle_extender.nodes import Nodes, Seen
from ingle_extender.scheduler_config import scheduler_config_yaml
from ingle_extender.settings import Settings
from ingle_extender.wire import FilterResult, KubeNode, Pod, quantity


def pending(uid: str) -> Pending:
    ask = Ask(AskMemory(1))
    return Pending(Assumed(uid, "a", ("G",), 1, 1), ask, "p/q")


def test_assumptions_expire_are_replaced_and_bounded() -> None:
    held = Assumptions(ttl_s=30, limit=2)
    held.put(pending("x"), 0.0)
    held.put(pending("y"), 10.0)
    held.put(pending("x"), 20.0)
    assert held.get("y", 39.0) is not None
    assert held.get("y", 40.0) is None
    assert [one.pod_uid for one in held.others("z", 49.0)] == ["x"]
    assert held.others("x", 49.0) == []
    for uid in "abc":
        held.put(pending(uid), 60.0)
    assert len(held) == 2
    held.drop(["b", "nobody"])
    assert [one.pod_uid for one in held.others("", 60.0)] == ["c"]


def gpu_node(revision: int, heartbeat: str, *pods: str, uid: str = "u") -> Seen:
    told = [{"uid": pod, "pool": "a/b", "state": "Awake", "epoch": 0, "at": ""} for pod in pods]
    spec: dict[str, Any] = {"revision": revision, "gpus": [], "zones": [], "pods": told}
    return Seen.of(
        {"metadata": {"name": "n", "uid": uid}, "spec": spec, "status": {"heartbeatAt": heartbeat}}
    )


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def nodes() -> tuple[Nodes, Clock, list[str]]:
    clock, claimed = Clock(), []
    wall = 1767225600.0 + 500.0  # 500 s into 2026
    return Nodes(on_claimed=claimed.extend, clock=clock, wall=lambda: wall), clock, claimed


def test_an_older_revision_does_not_undo_what_we_wrote() -> None:
    made, _, claimed = nodes()
    made.take("n", gpu_node(5, "", "p1", "p2"))
    made.take("n", gpu_node(4, "", "p1"))
    assert made.node_of("p2") == "n"
    assert set(claimed) == {"p1", "p2"}
    made.take("n", gpu_node(6, "", "p1"))
    assert made.node_of("p2") is None
    made.take("n", gpu_node(1, "", uid="another"))
    assert made.node_of("p1") is None
    made.take("n", None)
    assert made.columns.row == {}


def test_a_heartbeat_is_as_old_as_it_says_at_first_and_news_when_it_changes() -> None:
    made, clock, _ = nodes()
    made.take("n", gpu_node(1, ""))
    assert made.columns.facts["n"].heard_at_s == float("-inf")
    made.take("n", gpu_node(1, "2026-01-01T00:05:00Z"))
    assert made.columns.facts["n"].heard_at_s == 800.0
    clock.now_s = 1100.0
    made.take("n", gpu_node(1, "2026-01-01T00:05:30Z"))  # its clock may be wrong: that it changed counts
    assert made.columns.facts["n"].heard_at_s == 1100.0
    clock.now_s = 1200.0
    made.take("n", gpu_node(2, "2026-01-01T00:05:30Z"))
    assert made.columns.facts["n"].heard_at_s == 1100.0


def test_a_node_without_a_ready_kubernetes_node_is_not_ready() -> None:
    made, _, _ = nodes()
    made.take("n", gpu_node(1, ""))
    assert not made.columns.facts["n"].ready
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}, "spec": {"unschedulable": True}}
    made.take_kube("n", msgspec.convert(ready, KubeNode))
    assert (made.columns.facts["n"].ready, made.columns.facts["n"].cordoned) == (True, True)


@pytest.mark.parametrize(("state", "cordoned"), [("upgrade-done", False), ("drain-required", True)])
def test_a_node_whose_driver_is_upgraded_counts_as_cordoned(state: str, cordoned: bool) -> None:
    labels = {"nvidia.com/gpu-driver-upgrade-state": state}
    node = msgspec.convert({"metadata": {"labels": labels}}, KubeNode)
    assert node.cordoned is cordoned


@pytest.mark.parametrize(
    ("text", "amount"), [("42000", 42000), ("42k", 42000), ("1Ki", 1024), ("3M", 3000000)]
)
def test_quantities_as_the_api_server_writes_them(text: str, amount: int) -> None:
    assert quantity(text) == amount


@pytest.mark.parametrize("text", ["", "1.5", "k", "1500m", "1kk"])
def test_other_quantities_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number"):
        quantity(text)


def test_a_pod_without_the_annotation_asks_for_its_resource_on_one_gpu() -> None:
    resources = {"requests": {"ingle.dev/gpu-memory-mib": "42k"}}
    spec = {"containers": [{"resources": resources}, {}]}
    pod = msgspec.convert({"metadata": {"name": "x", "uid": "u"}, "spec": spec}, Pod)
    assert (pod.ask().gpus, pod.ask().memory_mib.awake) == (1, 42000)
    with pytest.raises(ValueError, match="neither annotation"):
        msgspec.convert({"metadata": {"name": "x"}}, Pod).ask()


def test_an_empty_answer_is_a_list_never_null() -> None:
    answer = msgspec.json.decode(msgspec.json.encode(FilterResult([])))
    assert answer["NodeNames"] == []
    assert answer["FailedAndUnresolvableNodes"] == {}


def test_the_scheduler_is_told_never_to_skip_us_and_to_show_every_node() -> None:
    config = yaml.safe_load(scheduler_config_yaml(Settings(listen="127.1.2.3")))
    assert config["extenders"][0] == {
        "urlPrefix": "http://127.1.2.3:9490",
        "filterVerb": "filter",
        "bindVerb": "bind",
        "nodeCacheCapable": True,
        "ignorable": False,
        "httpTimeout": "10s",
        "managedResources": [{"name": "ingle.dev/gpu-memory-mib", "ignoredByScheduler": True}],
    }
    assert config["profiles"][0]["percentageOfNodesToScore"] == 100
    assert config["profiles"][0]["plugins"]["postFilter"]["disabled"] == [{"name": "DefaultPreemption"}]
