"""Helm as built by `python -m ingle_lab.helm build`, and charts rendered by it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingle_lab.controlplane import ControlPlane
from ingle_lab.controlplane.testing import running_control_plane
from ingle_lab.helm import built_folder

Object = dict[str, Any]
ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "ingle"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Rendered:
    """The objects of one rendering, by what tests ask for."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = objects

    def of(self, kind: str) -> list[Object]:
        return [obj for obj in self.objects if obj["kind"] == kind]

    def one(self, kind: str, name: str, namespace: str | None = None) -> Object:
        found = [
            obj
            for obj in self.of(kind)
            if obj["metadata"]["name"] == name and namespace in (None, obj["metadata"].get("namespace"))
        ]
        assert len(found) == 1, f"{len(found)} of {kind} {name}"
        return found[0]

    @property
    def workloads(self) -> dict[str, Object]:
        """Deployments, StatefulSets and DaemonSets by the component of their pods."""
        kinds = ("Deployment", "StatefulSet", "DaemonSet")
        made = [obj for obj in self.objects if obj["kind"] in kinds]
        return {obj["spec"]["template"]["metadata"]["labels"]["ingle.dev/component"]: obj for obj in made}

    def containers(self) -> Iterator[tuple[str, Object]]:
        """Every container with the component that it is of."""
        for component, obj in self.workloads.items():
            pod = obj["spec"]["template"]["spec"]
            for container in [*pod.get("initContainers", ()), *pod["containers"]]:
                yield component, container


class Helm:
    """Runs the binary on our chart; what was rendered once is kept."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self._known: dict[str, Rendered] = {}

    def run(
        self, *words: str, values: Object | None = None, namespace: str = "ingle-system"
    ) -> subprocess.CompletedProcess[str]:
        """A command about our release, with the values on its standard input where it takes the chart."""
        command = [str(self._binary), *words, "ingle", "--namespace", namespace]
        command += [str(CHART), "--values", "-"] if values is not None else []
        text = json.dumps(values or {})
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)

    def template(
        self, values: Object | None = None, *, namespace: str = "ingle-system", kube_version: str = "v1.37.2"
    ) -> subprocess.CompletedProcess[str]:
        return self.run("template", "--kube-version", kube_version, values=values or {}, namespace=namespace)

    def render(self, values: Object | None = None) -> Rendered:
        key = json.dumps(values)
        if key not in self._known:
            done = self.template(values)
            assert done.returncode == 0, done.stderr
            loaded = yaml.load_all(done.stdout, Loader=LOADER)
            self._known[key] = Rendered([obj for obj in loaded if obj])
        return self._known[key]

    def refusal(self, values: Object) -> str:
        """What Helm says of values that it must refuse."""
        done = self.template(values)
        assert done.returncode != 0, "rendered"
        return done.stderr


@pytest.fixture(scope="session")
def helm() -> Helm:
    return Helm(built_folder() / "helm")


_BRANCHES: dict[str, Object] = {
    "defaults": {},
    "one of each": {"operator": {"replicas": 1}, "scheduler": {"replicas": 1}, "gateway": {"replicas": 1}},
    "no kinds": {"crds": {"install": False}},
    "no network policies": {"networkPolicy": {"enabled": False}},
    "narrow network policies": {
        "networkPolicy": {"clients": ["10.0.0.0/8", "fd00::/8"], "apiServers": ["10.1.2.3/32"]},
        "monitoring": {"namespace": "monitoring"},
    },
    "pools": {"pools": {"namespaces": ["chat", "code"]}},
    "no disruption budgets": {"podDisruptionBudgets": {"enabled": False}},
    "monitored": {
        "monitoring": {
            "namespace": "monitoring",
            "serviceMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
            "dashboard": {"enabled": True, "label": "dashboards"},
        }
    },
    "agents that set limits": {"agent": {"setLimits": True}},
    "agents in one process": {"agent": {"setLimits": True, "split": False}},
    "agents that may do all": {"agent": {"setLimits": True, "checkZones": True, "podResources": True}},
    "agents that look at zones": {"agent": {"checkZones": True, "settings": {"zone_seconds": 9}}},
    "agents that ask the kubelet": {"agent": {"podResources": True}},
    "devices by CDI": {"gpus": {"attach": "CDI", "runtimeClassName": ""}},
    "engines on zones": {"gpus": {"keepEnginesOnZone": True}},
    "caches on nodes": {"gpus": {"nodeCache": True}, "agent": {"hostDirectory": "/data/ingle"}},
    "a mirror": {"images": {"registry": "mirror.example:5000/a/b", "pullSecrets": ["one", "two"]}},
    "pinned images": {
        "images": {
            name: {"digest": f"sha256:{index:064x}"}
            for index, name in enumerate(("ingle", "envoy", "kubeScheduler", "holder"))
        }
    },
    "a load balancer": {
        "gateway": {"service": {"type": "LoadBalancer", "port": 8000, "annotations": {"a/b": "c d"}}}
    },
    "places": {
        part: {
            "nodeSelector": {"pool": "system"},
            "tolerations": [{"key": "system", "operator": "Exists", "effect": "NoSchedule"}],
            "priorityClassName": "",
        }
        for part in ("operator", "scheduler", "gateway", "agent")
    },
    "settings": {
        "operator": {"settings": {"wake_limit_s": 90, "log_level": "DEBUG"}},
        "scheduler": {"settings": {"filter_deadline_s": 0.35}},
        "gateway": {"drainSeconds": 120, "settings": {"waiting_bytes_max": 1073741824}},
        "agent": {"settings": {"sample_seconds": 0.5}},
    },
    "a parent chart": {"global": {"anything": ["at", "all"]}},
}


@pytest.fixture(scope="session")
def branches() -> dict[str, Object]:
    """Values that go through every branch of the templates, each by itself and all that differ together."""
    return _BRANCHES


@pytest.fixture(params=sorted(_BRANCHES), ids=lambda name: name.replace(" ", "-"))
def rendered(request: pytest.FixtureRequest, helm: Helm) -> Rendered:
    """The chart with each of those values."""
    return helm.render(_BRANCHES[request.param])


@pytest.fixture(scope="session")
def examples() -> list[Object]:
    """The objects of the GitOps example."""
    return list(yaml.safe_load_all((ROOT / "examples" / "gitops" / "cluster" / "objects.yaml").read_text()))


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    with running_control_plane() as plane:
        yield plane
