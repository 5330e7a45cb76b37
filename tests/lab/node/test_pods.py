"""Pods on the node stand-in, against the real API server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingle_kit.kube import Kube, Object
from ingle_kit.names import POD
from ingle_lab.node import Config, supply

from .conftest import Lab, condition, container_status, gone, pid_of, until

FOREVER = {"image": "python:3", "args": ["-c", "import time; time.sleep(600)"]}
SERVER = """
import http.server, os, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if pathlib.Path(os.environ["DATA"], "sick").exists() else 200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer((os.environ["POD_IP"], 8000), Handler).serve_forever()
"""
POD_IP = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
DATA = {"volumes": [{"name": "data", "emptyDir": {}}]}


def server(**probes: Object) -> Object:
    get = {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1, "failureThreshold": 1}
    return {
        "image": "python:3",
        "args": ["-c", SERVER],
        "ports": [{"name": "web", "containerPort": 8000}],
        "env": [POD_IP, {"name": "DATA", "value": "/data"}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    } | {name: get | more for name, more in probes.items()}


def read(folder: str, file: str) -> str:
    return Path(folder, file).read_text()


def data_folder(lab: Lab, pod: Object) -> Path:
    return Path(
        lab.config.lab_dir, "nodes", pod["spec"]["nodeName"], "pods", pod["metadata"]["uid"], "volumes/data"
    )


async def test_a_pod_runs_on_its_own_address_and_its_status_has_one_writer(lab: Lab) -> None:
    name = await lab.pod("plain", FOREVER)
    pod = await lab.until_ready(name)
    status = pod["status"]
    assert status["phase"] == "Running"
    assert status["hostIP"] == lab.config.nodes[0].address
    assert status["podIP"].startswith(lab.config.nodes[0].address.removesuffix(".1"))
    assert status["podIP"] != status["hostIP"]
    assert condition(pod, "PodScheduled") == "True"
    os.kill(pid_of(pod), 0)
    writes = [m["operation"] for m in pod["metadata"]["managedFields"] if m.get("subresource") == "status"]
    assert writes == ["Update"]


async def test_a_pod_is_ready_only_while_its_gate_is_open(lab: Lab) -> None:
    gate = "ingle.dev/awake"
    name = await lab.pod("gated", FOREVER, readinessGates=[{"conditionType": gate}])
    pod = await lab.until(name, lambda pod: condition(pod, "ContainersReady") == "True")
    assert condition(pod, "Ready") == "False"
    await lab.set_condition(name, gate, "True")
    pod = await lab.until_ready(name)
    assert condition(pod, gate) == "True"
    assert not any(c.get("reason") for c in pod["status"]["conditions"] if c["type"] == "Ready")
    await lab.set_condition(name, gate, "False")
    pod = await lab.until(name, lambda pod: condition(pod, "Ready") == "False")
    assert condition(pod, gate) == "False"


async def test_nothing_is_written_when_nothing_changes(lab: Lab) -> None:
    name = await lab.pod("quiet", FOREVER)
    before = await lab.until_ready(name)
    patch = {"metadata": {"annotations": {"touched": "yes"}}}
    after = await lab.admin.merge_patch(POD, name, patch, "default")
    other = await lab.pod("later", FOREVER)
    await lab.until_ready(other)
    assert (await lab.get(name))["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
    assert (await lab.get(name))["status"] == before["status"]


async def test_a_container_sees_its_variables_its_annotations_and_its_volumes(lab: Lab) -> None:
    await lab.admin.request(
        "POST",
        "/api/v1/namespaces/default/configmaps",
        body={"metadata": {"name": "settings"}, "data": {"colour": "blue"}},
    )
    field = {"fieldRef": {"fieldPath": "metadata.annotations['ingle.dev/gpus']"}}
    words = 'echo "$GPUS|$BOTH|$COLOUR|$(cat /cfg/colour)|$INGLE_LAB_MOUNT_CFG|$LAB_EXTRA"; exec sleep 600'
    container = {
        "name": "main",
        "image": "shell",
        "args": [words],
        "env": [
            {"name": "GPUS", "valueFrom": field},
            {"name": "BOTH", "value": "$(GPUS)+$$(GPUS)+$(NOPE)"},
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        ],
        "volumeMounts": [{"name": "cfg", "mountPath": "/cfg"}],
    }
    volumes = [{"name": "cfg", "configMap": {"name": "settings"}}]
    name = await lab.create(
        "env", {"containers": [container], "volumes": volumes}, annotations={"ingle.dev/gpus": "GPU-1,GPU-2"}
    )
    line = await until(lambda: lab.log(name), lambda text: "\n" in text)
    gpus, both, colour, read, mount, extra = line.strip().split("|")
    assert gpus == "GPU-1,GPU-2"
    assert both == "GPU-1,GPU-2+$(GPUS)+$(NOPE)"
    assert (colour, read, extra) == ("blue", "blue", "")
    assert Path(mount).is_relative_to(lab.config.lab_dir)


async def test_never_means_failed_once_the_process_is_killed(lab: Lab) -> None:
    name = await lab.pod("never", FOREVER, restartPolicy="Never")
    os.kill(pid_of(await lab.until_ready(name)), signal.SIGKILL)
    pod = await lab.until(name, lambda pod: pod["status"]["phase"] == "Failed")
    ended = container_status(pod)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "Error")
    assert condition(pod, "Ready") == "False"


async def test_never_means_succeeded_after_exit_code_0_and_init_containers_come_first(lab: Lab) -> None:
    init = {"name": "first", "image": "shell", "args": ["echo one > /data/file"]}
    main = {"name": "main", "image": "shell", "args": ["cat /data/file"]}
    init, main = (
        container | {"volumeMounts": [{"name": "data", "mountPath": "/data"}]} for container in (init, main)
    )
    spec = {"initContainers": [init], "containers": [main], "restartPolicy": "Never"} | DATA
    name = await lab.create("job", spec)
    await lab.until(name, lambda pod: pod["status"]["phase"] == "Succeeded")
    assert lab.log(name) == "one\n"


async def test_always_means_a_new_process_after_each_kill(lab: Lab) -> None:
    name = await lab.pod("always", FOREVER)
    pid = pid_of(await lab.until_ready(name))
    for restarts in (1, 2):
        os.kill(pid, signal.SIGKILL)
        pod = await lab.until(
            name,
            lambda pod, n=restarts: (
                container_status(pod)["restartCount"] == n and container_status(pod)["ready"]
            ),
        )
        assert pid_of(pod) != pid
        assert container_status(pod)["lastState"]["terminated"]["exitCode"] == 137
        pid = pid_of(pod)


async def test_a_deleted_pod_gets_its_grace_and_is_gone_with_all_its_processes(lab: Lab) -> None:
    words = "sleep 600 & echo child $!; trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    name = await lab.pod("graceful", {"image": "shell", "args": [words]})
    await until(lambda: lab.log(name), lambda text: "up" in text)
    child = int(lab.log(name).split()[1])
    await lab.admin.delete(POD, name, "default")
    await lab.until_gone(name)
    assert "bye" in lab.log(name)
    await until(lambda: gone(child), bool)


async def test_a_process_that_ignores_term_is_killed_after_the_grace(lab: Lab) -> None:
    words = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    name = await lab.pod("stubborn", {"image": "shell", "args": [words]})
    await until(lambda: lab.log(name), lambda text: "up" in text)
    pid = pid_of(await lab.until_ready(name))
    await lab.admin.delete(POD, name, "default", grace_s=1)
    await lab.until_gone(name)
    assert gone(pid)


async def test_a_pod_removed_by_force_is_killed(lab: Lab) -> None:
    name = await lab.pod("forced", FOREVER)
    pid = pid_of(await lab.until_ready(name))
    await lab.admin.delete(POD, name, "default", grace_s=0)
    await until(lambda: gone(pid), bool)
    await until(lambda: lab.program.nodes[lab.node_names[0]].pods, lambda pods: not pods)


async def test_pods_that_cannot_run_fail_with_a_reason(lab: Lab) -> None:
    cases = {
        "image": (FOREVER | {"image": "nobody/knows:1"}, "ErrImageNeverPull", "nobody/knows:1"),
        "cpu": (FOREVER | {"resources": {"requests": {"cpu": "17"}}}, "OutOfcpu", "requested: 17"),
        "grpc": (
            FOREVER | {"livenessProbe": {"grpc": {"port": 1}}},
            "UnsupportedByLab",
            "livenessProbe.grpc",
        ),
    }
    for case, (container, reason, words) in cases.items():
        name = await lab.pod(case, container)
        pod = await lab.until(name, lambda pod: pod["status"]["phase"] == "Failed")
        assert pod["status"]["reason"] == reason
        assert words in pod["status"]["message"]
        await lab.admin.delete(POD, name, "default")
        await lab.until_gone(name)


async def test_a_resource_that_the_node_does_not_advertise_is_admitted(lab: Lab) -> None:
    amounts = {"ingle.dev/gpu-memory-mib": "42000"}
    resources = {"requests": amounts, "limits": amounts}
    await lab.until_ready(await lab.pod("extended", FOREVER | {"resources": resources}))


async def test_readiness_follows_its_probe_without_a_restart(lab: Lab) -> None:
    name = await lab.pod("reads", server(readinessProbe={}), **DATA)
    pod = await lab.until_ready(name)
    sick = data_folder(lab, pod) / "sick"
    sick.touch()
    await lab.until(name, lambda pod: condition(pod, "Ready") == "False")
    sick.unlink()
    pod = await lab.until_ready(name)
    assert container_status(pod)["restartCount"] == 0


async def test_a_failed_liveness_probe_ends_the_container(lab: Lab) -> None:
    probes: Any = {"startupProbe": {"failureThreshold": 20}, "livenessProbe": {}}
    name = await lab.pod("lives", server(**probes), restartPolicy="Never", **DATA)
    pod = await lab.until_ready(name)
    (data_folder(lab, pod) / "sick").touch()
    pod = await lab.until(name, lambda pod: pod["status"]["phase"] == "Failed")
    assert "liveness probe failed" in container_status(pod)["state"]["terminated"]["message"]


async def test_the_token_in_the_service_account_folder_speaks_for_the_pod(lab: Lab, tmp_path: Path) -> None:
    words = (
        'echo "$INGLE_SERVICE_ACCOUNT_DIR $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT"; exec sleep 600'
    )
    name = await lab.pod("speaks", {"image": "shell", "args": [words]})
    folder, host, port = (await until(lambda: lab.log(name), lambda text: "\n" in text)).split()
    assert f"https://{host}:{port}" == lab.plane.server
    namespace, ca, token = (read(folder, file) for file in ("namespace", "ca.crt", "token"))
    assert (namespace, ca.encode()) == ("default", lab.plane.ca_pem)
    kubeconfig = lab.plane.token_kubeconfig(tmp_path / "kubeconfig", token)
    async with Kube.connect(user_agent="test", kubeconfig=str(kubeconfig)) as pod_kube:
        review = await pod_kube.request(
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
        )
    user = review["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:default:default"
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == [name]
    assert user["extra"]["authentication.kubernetes.io/node-name"] == lab.node_names


async def test_a_token_is_written_anew_before_it_expires(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply, "TOKEN_LIFE_FRACTION", 0.0001)
    monkeypatch.setattr(supply, "TOKEN_RETRY_S", 600)
    words = 'echo "$INGLE_SERVICE_ACCOUNT_DIR"; exec sleep 600'
    name = await lab.pod("renews", {"image": "shell", "args": [words]})
    folder = (await until(lambda: lab.log(name), lambda text: "\n" in text)).strip()
    first = read(folder, "token")
    await until(lambda: read(folder, "token"), lambda token: token != first)


async def test_two_nodes_run_their_own_pods_with_their_own_environment(
    start_lab: Callable[[Config], Any], make_config: Callable[..., Config]
) -> None:
    lab: Lab = await start_lab(make_config(2, env={"LAB_EXTRA": "seen"}))
    container = {"image": "shell", "args": ["echo $LAB_EXTRA; exec sleep 600"]}
    names = [await lab.pod("pair", container, node=node) for node in (0, 1)]
    pods = await asyncio.gather(*(lab.until_ready(name) for name in names))
    assert [pod["status"]["hostIP"] for pod in pods] == [node.address for node in lab.config.nodes]
    assert len({pod["status"]["podIP"] for pod in pods}) == 2
    assert [lab.log(name) for name in names] == ["seen\n", "seen\n"]


async def test_host_network_means_the_address_of_the_node(lab: Lab) -> None:
    pod = await lab.until_ready(await lab.pod("host", FOREVER, hostNetwork=True))
    assert pod["status"]["podIP"] == lab.config.nodes[0].address
