"""What the chart renders for every branch of its templates. What an API server says of it is in test_cluster.py."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts.generate.schema import FIXED, PROCESSES, settings_schema

from ingle_lab.stack.pods import ENVOY_IMAGE
from ingle_router.envoy import bootstrap
from ingle_router.settings import Settings as RouterSettings

ROOT = Path(__file__).parents[2]
COMPONENTS = ("agent", "gateway", "operator", "scheduler")
PORTS = {"operator": 9480, "gateway": 9471, "scheduler": 9490, "agent": 9470}


@cache
def documents(folder: str) -> list[dict[str, Any]]:
    texts = [path.read_text() for path in sorted((ROOT / folder).glob("*.yaml"))]
    return [obj for text in texts for obj in yaml.safe_load_all(text) if obj]


def pod_of(obj: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = obj["spec"]["template"]["spec"]
    return spec


# -- the same objects as elsewhere ---------------------------------------------------------------------------


def test_no_object_is_there_twice(rendered: Any) -> None:
    keys = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in rendered.objects]
    assert len(keys) == len(set(keys))


def test_rights_and_policies_are_those_that_the_lab_applies(rendered: Any) -> None:
    for obj in documents("charts/manifests"):
        if obj["kind"] != "Namespace":
            assert obj == rendered.one(obj["kind"], obj["metadata"]["name"], obj["metadata"].get("namespace"))


def test_the_chart_gives_no_right_beside_them(rendered: Any) -> None:
    ours = {(o["kind"], o["metadata"]["name"]) for o in documents("charts/manifests")}
    kinds = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount")
    assert {(o["kind"], o["metadata"]["name"]) for o in rendered.objects if o["kind"] in kinds} <= ours


def test_kinds_are_those_of_crds_and_outlive_an_uninstall(helm: Any) -> None:
    rendered = helm.render({})
    for definition in documents("crds"):
        found = rendered.one(definition["kind"], definition["metadata"]["name"])
        assert found["spec"] == definition["spec"]
        assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert (
            found["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"
        )
    assert not helm.render({"crds": {"install": False}}).of("CustomResourceDefinition")


# -- processes -----------------------------------------------------------------------------------------------


def test_each_process_has_its_pods_and_its_account(rendered: Any) -> None:
    accounts = {name: pod_of(obj)["serviceAccountName"] for name, obj in rendered.workloads.items()}
    assert accounts == {
        "operator": "ingle-operator",
        "scheduler": "ingle-scheduler",
        "gateway": "ingle-router",
        "agent": "ingle-agent",
    }
    for obj in rendered.workloads.values():
        labels = obj["spec"]["template"]["metadata"]["labels"]
        assert obj["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_every_container_is_bounded_and_every_process_is_probed(rendered: Any) -> None:
    """But the setter: it has no port, and ends by itself where the driver hangs."""
    for component, container in rendered.containers():
        assert container["resources"]["limits"]["memory"], component
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        if not container["name"].endswith("-config") and container["name"] != "setter":
            assert "livenessProbe" in container, container["name"]
    for obj in rendered.workloads.values():
        pod = pod_of(obj)
        assert any("readinessProbe" in c for c in pod["containers"])
        mounted = {
            m["name"] for c in [*pod["containers"], *pod.get("initContainers", ())] for m in c["volumeMounts"]
        }
        assert mounted == {volume["name"] for volume in pod["volumes"]}


NODE_MILLICPU = 2000


def test_an_upgrade_fits_beside_what_runs_on_one_node_of_two_cores(helm: Any) -> None:
    """With half of it left for the cluster's own pods and engines; else kube-scheduler ends engines to make room."""
    rendered = helm.render({"agent": {"setLimits": True}})
    at_once = [(name, c) for name, c in rendered.containers() if not c["name"].endswith("-config")]
    asked = {
        name: sum(millicpu(c["resources"]["requests"]["cpu"]) for n, c in at_once if n == name)
        for name in rendered.workloads
    }
    pods = {
        name: obj["spec"].get("replicas", 1) + (obj["kind"] == "Deployment")
        for name, obj in rendered.workloads.items()
    }
    assert sum(asked[name] * pods[name] for name in asked) <= NODE_MILLICPU / 2


def millicpu(quantity: str) -> float:
    return float(quantity[:-1]) if quantity.endswith("m") else 1000 * float(quantity)


def test_every_image_follows_the_one_registry(helm: Any, branches: Any) -> None:
    rendered = helm.render(branches["a mirror"])
    images = [container["image"] for _, container in rendered.containers()]
    operator = rendered.workloads["operator"]
    images += [e["value"] for e in pod_of(operator)["containers"][0]["env"] if e["name"].endswith("_IMAGE")]
    assert set(images) == {
        "mirror.example:5000/a/b/ingle:0.1.0",
        "mirror.example:5000/a/b/envoyproxy/envoy:v1.40.0",
        "mirror.example:5000/a/b/kube-scheduler:v1.37.2",
        "mirror.example:5000/a/b/pause:3.10",
    }
    for obj in rendered.workloads.values():
        assert pod_of(obj)["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]


def test_a_digest_goes_before_a_tag(helm: Any, branches: Any) -> None:
    rendered = helm.render(branches["pinned images"])
    assert all(re.search(r"[^:]@sha256:[0-9a-f]{64}$", c["image"]) for _, c in rendered.containers())


def test_versions_are_those_of_the_project_and_of_the_lab() -> None:
    chart = yaml.safe_load((ROOT / "charts/ingle/Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]
    frozen = [path.name for path in (ROOT / "e2e_real/fixtures").glob("*.tgz")]
    assert frozen
    assert f"ingle-{chart['version']}.tgz" not in frozen
    envoy = yaml.safe_load((ROOT / "charts/ingle/values.yaml").read_text())["images"]["envoy"]
    assert f"{envoy['repository']}:{envoy['tag']}" == f"docker.io/{ENVOY_IMAGE}"


@pytest.mark.parametrize("version", ["v1.36.4-eks-4f4795d", "v1.36.4+k3s1", "v1.36.4"])
def test_our_kube_scheduler_is_of_the_clusters_version(helm: Any, version: str) -> None:
    done = helm.template(kube_version=version)
    assert 'image: "registry.k8s.io/kube-scheduler:v1.36.4"' in done.stdout


@pytest.mark.parametrize("process", sorted(PROCESSES))
def test_a_process_reads_what_its_settings_say(
    helm: Any, process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every setting that may be set, at a value other than its default, comes out of the environment as it went in."""
    wanted = dict(other_values(process))
    switches = {"agent": {"checkZones": True, "podResources": True}}.get(process, {})
    rendered = helm.render({process: {"settings": wanted, **switches}})
    containers = [
        c
        for name, c in rendered.containers()
        if name == process and c["command"] == [f"ingle-{SHELL[process]}"]
    ]
    assert len(containers) == 1
    for variable in containers[0]["env"]:
        value = variable.get("value", "192.0.2.1").replace("$(INGLE_POD_IP)", "192.0.2.1")
        monkeypatch.setenv(variable["name"], value)
    read = PROCESSES[process]()
    assert {name: getattr(read, name) for name in wanted} == wanted
    fixed = {name.removeprefix("INGLE_").lower() for name in environment(containers[0])} - set(wanted)
    assert fixed - COMMON <= FIXED[process] | {"openblas_num_threads"}


SHELL = {"operator": "operator", "scheduler": "extender", "gateway": "router", "agent": "agent"}
COMMON = {
    *("pod_name", "pod_uid", "pod_ip", "node_name", "listen", "namespace"),
    *("nvidia_visible_devices", "nvidia_driver_capabilities"),
}


def environment(container: dict[str, Any]) -> set[str]:
    return {variable["name"] for variable in container["env"]}


def other_values(process: str) -> Iterator[tuple[str, Any]]:
    """A value for each setting that is not its default and keeps the rules between settings."""
    chosen: dict[str, Any] = {
        **{"lease_duration_s": 31.5, "lease_renew_s": 2.5, "orphan_s": 75, "claim_renew_s": 15},
        "prometheus_url": "http://prometheus.monitoring:9090",
    }
    for name, field in settings_schema(process)["properties"].items():
        default = PROCESSES[process].model_fields[name].default
        if name in chosen:
            yield name, chosen[name]
        elif field["type"] == "boolean":
            yield name, not default
        elif field["type"] == "string":
            yield name, f"{default} b"
        else:
            above = default + 1 if field.get("maximum", 2**63) > default else default / 2
            yield name, above if field["type"] == "integer" else above + 0.0


def test_configuration_of_kube_scheduler_and_envoy_comes_from_the_same_settings(
    helm: Any, branches: Any
) -> None:
    rendered = helm.render(branches["settings"])
    for component, config, process in (
        ("scheduler", "scheduler-config", "extender"),
        ("gateway", "envoy-config", "router"),
    ):
        pod = pod_of(rendered.workloads[component])
        made = {c["name"]: c for c in [*pod["initContainers"], *pod["containers"]]}
        assert environment(made[config]) | {"INGLE_DRAIN_S"} >= environment(made[process])


def test_clients_reach_the_gateway_by_port_forward_too_and_nothing_else(
    helm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubectl port-forward comes by loopback."""
    pod = pod_of(helm.render({}).workloads["gateway"])
    config = next(c for c in pod["initContainers"] if c["name"] == "envoy-config")
    for variable in config["env"]:
        value = variable.get("value", "192.0.2.1").replace("$(INGLE_POD_IP)", "192.0.2.1")
        monkeypatch.setenv(variable["name"], value)
    listeners = bootstrap(RouterSettings())["static_resources"]["listeners"]
    addresses = {one["name"]: one["address"]["socket_address"]["address"] for one in listeners}
    assert addresses == {"clients": "0.0.0.0", "internal": "192.0.2.1"}


def test_the_router_starts_before_envoy_and_ends_after_it(helm: Any) -> None:
    pod = pod_of(helm.render({"gateway": {"drainSeconds": 120}}).workloads["gateway"])
    router = next(c for c in pod["initContainers"] if c["name"] == "router")
    assert router["restartPolicy"] == "Always"
    drains_s = next(int(e["value"]) for e in router["env"] if e["name"] == "INGLE_DRAIN_S")
    sleeps_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleeps_s == 120
    assert pod["terminationGracePeriodSeconds"] > sleeps_s + drains_s


def test_schedulers_pods_are_those_that_people_may_ask(helm: Any) -> None:
    rendered = helm.render({"scheduler": {"replicas": 3}})
    workload = rendered.workloads["scheduler"]
    names = {
        f"{workload['metadata']['name']}-{number}:9490" for number in range(workload["spec"]["replicas"])
    }
    rule = next(
        r for r in rendered.one("Role", "ingle-view-scheduler")["rules"] if r["resources"] == ["pods/proxy"]
    )
    assert set(rule["resourceNames"]) == names


def test_agents_run_where_the_values_say_and_else_where_gpus_are_found(helm: Any) -> None:
    """Helm adds a map of labels to a default one, so the default is none."""
    chosen = {"example.com/gpus": "mine"}
    assert (
        pod_of(helm.render({"agent": {"nodeSelector": chosen}}).workloads["agent"])["nodeSelector"] == chosen
    )
    assert pod_of(helm.render({}).workloads["agent"])["nodeSelector"] == {"nvidia.com/gpu.present": "true"}


def test_agents_see_all_gpus_either_by_variable_or_by_cdi(helm: Any, branches: Any) -> None:
    agent = helm.render({}).workloads["agent"]["spec"]["template"]
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"} in agent["spec"]["containers"][0]["env"]
    assert agent["spec"]["runtimeClassName"] == "nvidia"
    agent = helm.render(branches["devices by CDI"]).workloads["agent"]["spec"]["template"]
    assert agent["metadata"]["annotations"] == {"cdi.k8s.io/ingle_agent": "nvidia.com/gpu=all"}
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in agent["spec"]["containers"][0]["env"]
    assert "runtimeClassName" not in agent["spec"]


TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def test_who_sets_limits_has_the_capability_and_who_has_the_token_has_not(helm: Any, branches: Any) -> None:
    pod = pod_of(helm.render(branches["agents that may do all"]).workloads["agent"])
    reader, setter = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert reader["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SYS_PTRACE"]}
    assert setter["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SYS_ADMIN"]}
    places = [{mount["mountPath"]: mount["name"] for mount in c["volumeMounts"]} for c in (reader, setter)]
    assert TOKEN_PATH in places[0]
    assert places[1] == {"/var/lib/ingle": "state", "/run/ingle": "setter"}
    assert "ports" not in setter
    folder = next(volume for volume in pod["volumes"] if volume["name"] == "setter")
    assert folder["emptyDir"]["medium"] == "Memory"
    shared = {"INGLE_SETTER_SOCKET", "INGLE_JOURNAL"}
    assert shared <= environment(setter)
    assert shared <= environment(reader)
    assert next(m for m in reader["volumeMounts"] if m["name"] == "state")["readOnly"] is True


@pytest.mark.parametrize("name", ["defaults", "agents in one process"])
def test_without_a_split_the_agent_is_one_process_with_the_accounts_own_token(
    helm: Any, branches: Any, name: str
) -> None:
    pod = pod_of(helm.render(branches[name]).workloads["agent"])
    assert [container["name"] for container in pod["containers"]] == ["agent"]
    assert "automountServiceAccountToken" not in pod
    assert "INGLE_SETTER_SOCKET" not in environment(pod["containers"][0])


# -- who is selected -----------------------------------------------------------------------------------------


def selected(rendered: Any, selector: dict[str, Any]) -> set[str]:
    """Components whose pods a label selector takes."""
    wanted = selector.get("matchLabels", {})
    return {
        name
        for name, obj in rendered.workloads.items()
        if wanted.items() <= obj["spec"]["template"]["metadata"]["labels"].items()
    }


def test_budgets_spreads_and_services_select_their_own_pods(rendered: Any) -> None:
    for budget in rendered.of("PodDisruptionBudget"):
        assert selected(rendered, budget["spec"]["selector"]) == {
            budget["metadata"]["name"].removeprefix("ingle-")
        }
    for component, obj in rendered.workloads.items():
        for spread in pod_of(obj).get("topologySpreadConstraints", ()):
            assert selected(rendered, spread["labelSelector"]) == {component}
    for service in rendered.of("Service"):
        wanted = {"ingle-gateway": {"gateway"}, "ingle-metrics": set(COMPONENTS)}[service["metadata"]["name"]]
        assert selected(rendered, {"matchLabels": service["spec"]["selector"]}) == wanted
        for port in service["spec"]["ports"]:
            for component in wanted:
                named = [
                    p["name"] for n, c in rendered.containers() if n == component for p in c.get("ports", ())
                ]
                assert named.count(port["targetPort"]) == 1


def test_ports_are_those_of_the_processes(rendered: Any) -> None:
    for component, container in rendered.containers():
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        assert ports.get("metrics", PORTS[component]) == PORTS[component]
