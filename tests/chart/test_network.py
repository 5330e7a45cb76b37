"""Who reaches which port, by the rules of NetworkPolicy over the rendered chart."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

import pytest

SYSTEM, CHAT = "ingle-system", "chat"


class Peer(NamedTuple):
    """A pod, or an address outside of the cluster."""

    namespace: str = ""
    labels: dict[str, str] = {}  # noqa: RUF012
    address: str = "203.0.113.9"


def part(component: str) -> Peer:
    return Peer(SYSTEM, {"ingle.dev/component": component, "app.kubernetes.io/part-of": "ingle"})


ENGINE = Peer(CHAT, {"ingle.dev/pool": "llama", "app": "llama"})
TENANT = Peer(CHAT, {"app": "web"})
IMPOSTOR = Peer(CHAT, {"ingle.dev/component": "operator"})
PROMETHEUS = Peer("monitoring", {"app": "prometheus"})
OUTSIDE = Peer()


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """A label selector; the empty one matches all."""
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions", ()))


def _holds(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    key = expression["key"]
    if expression["operator"] == "Exists":
        return key in labels
    assert expression["operator"] == "In"
    return labels.get(key) in expression["values"]


def comes_from(rule: dict[str, Any], own: str, peer: Peer) -> bool:
    """Whether one entry of `from` takes the peer; `own` is the policy's namespace."""
    if "ipBlock" in rule:
        return not peer.namespace and ip_address(peer.address) in ip_network(rule["ipBlock"]["cidr"])
    if not peer.namespace:
        return False
    spaces = rule.get("namespaceSelector")
    fits = peer.namespace == own
    if spaces is not None:
        fits = matches(spaces, {"kubernetes.io/metadata.name": peer.namespace})
    return fits and matches(rule.get("podSelector", {}), peer.labels)


def reaches(policies: list[dict[str, Any]], source: Peer, target: Peer, port: int) -> bool:
    """Policies that select a pod close it but for what one of them lets in; a pod that none selects is open."""
    on_it = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == target.namespace
        and matches(policy["spec"]["podSelector"], target.labels)
    ]
    rules = [
        (policy["metadata"]["namespace"], rule)
        for policy in on_it
        for rule in policy["spec"].get("ingress") or ()
    ]
    return not on_it or any(
        (not rule.get("ports") or port in [p["port"] for p in rule["ports"]])
        and (not rule.get("from") or any(comes_from(one, own, source) for one in rule["from"]))
        for own, rule in rules
    )


@pytest.mark.parametrize("port", [8000, 9000])
def test_an_engine_is_reached_by_gateway_and_operator_alone(helm: Any, branches: Any, port: int) -> None:
    policies = helm.render(branches["pools"]).of("NetworkPolicy")
    able = {"gateway": part("gateway"), "operator": part("operator")}
    unable = [part("agent"), part("scheduler"), TENANT, ENGINE, IMPOSTOR, PROMETHEUS, OUTSIDE]
    assert all(reaches(policies, source, ENGINE, port) for source in able.values())
    assert not any(reaches(policies, source, ENGINE, port) for source in unable)


def test_other_pods_of_a_pools_namespace_are_not_touched(helm: Any, branches: Any) -> None:
    assert reaches(helm.render(branches["pools"]).of("NetworkPolicy"), OUTSIDE, TENANT, 80)


OPEN = {
    ("operator", "agent", 9470),
    ("operator", "gateway", 9471),
    *(
        (source, "gateway", 8080)
        for source in ("operator", "scheduler", "gateway", "agent", "tenant", "outside")
    ),
}
MONITORED = {
    ("prometheus", target, port)
    for target, port in [("operator", 9480), ("scheduler", 9490), ("gateway", 9471), ("agent", 9470)]
} | {("prometheus", "gateway", 8080)}
PORTS = {
    "operator": (9480,),
    "scheduler": (9490, 10259),
    "gateway": (8080, 8081, 9002, 9003, 9471, 9472),
    "agent": (9470,),
}


def table(policies: list[dict[str, Any]]) -> set[tuple[str, str, int]]:
    sources = {name: part(name) for name in PORTS} | {
        "tenant": TENANT,
        "outside": OUTSIDE,
        "prometheus": PROMETHEUS,
    }
    return {
        (name, target, port)
        for name, source in sources.items()
        for target, ports in PORTS.items()
        for port in ports
        if reaches(policies, source, part(target), port)
    }


def test_our_own_ports_are_closed_but_to_those_who_need_them(helm: Any) -> None:
    assert table(helm.render({}).of("NetworkPolicy")) == OPEN | {("prometheus", "gateway", 8080)}


def test_prometheus_reads_metrics_where_its_namespace_is_named(helm: Any, branches: Any) -> None:
    assert table(helm.render(branches["monitored"]).of("NetworkPolicy")) == OPEN | MONITORED


def test_clients_and_api_servers_may_be_narrowed_to_addresses(helm: Any, branches: Any) -> None:
    policies = helm.render(branches["narrow network policies"]).of("NetworkPolicy")
    assert not reaches(policies, OUTSIDE, part("gateway"), 8080)
    assert not reaches(policies, TENANT, part("gateway"), 8080)
    for address in ("10.9.9.9", "fd00::1"):
        assert reaches(policies, Peer(address=address), part("gateway"), 8080)
    assert reaches(policies, Peer(address="10.1.2.3"), part("scheduler"), 9490)
    assert not reaches(policies, Peer(address="10.1.2.4"), part("scheduler"), 9490)


def test_holder_pods_are_reached_by_nobody(helm: Any) -> None:
    policies = helm.render({}).of("NetworkPolicy")
    holder = Peer(SYSTEM, {"ingle.dev/component": "holder"})
    assert not any(reaches(policies, source, holder, 80) for source in (part("operator"), TENANT, OUTSIDE))


def test_without_policies_nothing_is_closed(helm: Any, branches: Any) -> None:
    assert helm.render(branches["no network policies"]).of("NetworkPolicy") == []
