"""Configuration of the node's programs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from ingle_lab.realnode import files
from ingle_lab.realnode.cgroups import parse
from ingle_lab.realnode.preflight import has_capability


@pytest.mark.parametrize("may_lower", [True, False])
def test_containerd_restricts_oom_scores_where_root_may_not_lower_them(may_lower: bool) -> None:
    text = files.containerd(
        Path("/runc"), Path("/gpu"), Path("/plugins"), Path("/cni"), may_lower_oom=may_lower
    )
    runtime = tomllib.loads(text)["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime["restrict_oom_score_adj"] is not may_lower


def test_the_runtime_class_nvidia_is_the_one_with_gpus() -> None:
    text = files.containerd(Path("/runc"), Path("/gpu"), Path("/plugins"), Path("/cni"), may_lower_oom=True)
    runtimes = tomllib.loads(text)["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]
    programs = {name: runtime["options"]["BinaryName"] for name, runtime in runtimes.items()}
    assert programs == {"runc": "/runc", "nvidia": "/gpu"}


def test_pods_hang_on_the_bridge_whose_address_is_the_nodes() -> None:
    (bridge,) = json.loads(files.cni())["plugins"]
    assert (bridge["bridge"], bridge["ipMasq"]) == (files.BRIDGE, False)
    assert bridge["ipam"]["ranges"] == [[{"subnet": files.POD_RANGE}]]


def test_kubelet_lets_nobody_in_unnamed() -> None:
    config = files.kubelet(Path("/lab"), Path("/ca"), Path("/cert"), Path("/key"))
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"] == {"mode": "Webhook"}


def test_cgroups_of_a_process_are_read_by_controller() -> None:
    text = "9:name=systemd:/a\n4:cpu,cpuacct:/b\n0::/\n"
    assert parse(text) == {"systemd": "/a", "cpu": "/b", "cpuacct": "/b", "": "/"}


def test_capabilities_are_read_from_the_status() -> None:
    status = "Name:\tx\nCapEff:\t0000000000200000\n"
    assert has_capability(21, status)
    assert not has_capability(24, status)
    assert not has_capability(21, "Name:\tx\n")


def test_the_runtime_with_gpus_alone_is_told_which_cdi_devices_a_pod_names() -> None:
    text = files.containerd(Path("/runc"), Path("/gpu"), Path("/plugins"), Path("/cni"), may_lower_oom=True)
    runtimes = tomllib.loads(text)["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]
    told = {name: runtime["pod_annotations"] for name, runtime in runtimes.items()}
    assert told == {"runc": [], "nvidia": ["cdi.k8s.io/*"]}
