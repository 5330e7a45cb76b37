"""The program as a whole: its own death, the switch of its nodes, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml

from ingle_kit.kube import Kube, Object
from ingle_kit.names import NODE, POD
from ingle_lab.node import Config, NodeProgram
from ingle_lab.node.config import ConfigError
from ingle_lab.node.control import call_switch
from ingle_lab.node.program import bound_log

from .conftest import Lab, condition, container_status, gone, pid_of, until
from .test_pods import FOREVER


@contextmanager
def program(config: Config, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    path = folder / "nodes.yaml"
    path.write_text(yaml.safe_dump(msgspec.to_builtins(config)))
    process = subprocess.Popen([sys.executable, "-m", "ingle_lab.node", "--config", str(path)])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


async def node_ready(admin: Kube, name: str) -> str | None:
    nodes, _ = await admin.list(NODE, field_selector=f"metadata.name={name}")
    return condition(nodes[0], "Ready") if nodes else None


async def test_processes_die_with_the_program_and_a_new_one_restarts_or_fails_their_pods(
    make_config: Callable[..., Config], admin: Kube, plane: Any, tmp_path: Path
) -> None:
    config = make_config()
    lab = Lab(plane, config, admin)  # not run here: the program is a process of its own
    with program(config, tmp_path) as first:
        await until(lambda: node_ready(admin, lab.node_names[0]), lambda ready: ready == "True")
        words = "sleep 600 & echo $!; wait"
        always = await lab.pod("always", {"image": "shell", "args": [words]})
        never = await lab.pod("never", FOREVER, restartPolicy="Never")
        before = [await lab.until_ready(name) for name in (always, never)]
        child = int(await until(lambda: lab.log(always), lambda text: "\n" in text))
        first.kill()
        await until(lambda: all(gone(pid_of(pod)) for pod in before), bool)
    with program(config, tmp_path):
        again = await lab.until(always, lambda pod: container_status(pod)["restartCount"] == 1)
        assert again["status"]["podIP"] == before[0]["status"]["podIP"]
        assert container_status(again)["lastState"]["terminated"]["reason"] == "ContainerLost"
        lost = await lab.until(never, lambda pod: pod["status"]["phase"] == "Failed")
        assert container_status(lost)["state"]["terminated"]["reason"] == "ContainerLost"
        await until(lambda: gone(child), bool)
        for name in (always, never):
            await admin.delete(POD, name, "default")
            await lab.until_gone(name)
    await admin.delete(NODE, lab.node_names[0])


async def test_a_node_that_is_switched_off_falls_silent_and_catches_up(lab: Lab, admin: Kube) -> None:
    socket, node = lab.config.socket_path(), lab.node_names[0]
    gate = "example.org/gate"
    gated = await lab.pod("gated", FOREVER, readinessGates=[{"conditionType": gate}])
    doomed = await lab.pod("doomed", FOREVER)
    pid = pid_of(await lab.until_ready(doomed))
    await lab.until(gated, lambda pod: condition(pod, "ContainersReady") == "True")
    assert (await call_switch(socket, node, down=True))["down"]
    await lab.set_condition(gated, gate, "True")
    await admin.delete(POD, doomed, "default", grace_s=0)
    await until(lambda: node_ready(admin, node), lambda ready: ready == "Unknown")
    assert condition(await lab.get(gated), "Ready") == "False"
    assert not gone(pid)
    await call_switch(socket, node, down=False)
    await until(lambda: gone(pid), bool)
    await until(lambda: node_ready(admin, node), lambda ready: ready == "True")


async def test_a_node_that_loses_power_loses_its_processes_and_boots_anew(lab: Lab, admin: Kube) -> None:
    socket, name = lab.config.socket_path(), lab.node_names[0]
    pod = await lab.pod("back", FOREVER)
    pid = pid_of(await lab.until_ready(pod))
    boot = await boot_id(admin, name)
    await call_switch(socket, name, down=True, kill=True)
    await until(lambda: gone(pid), bool)
    await call_switch(socket, name, down=False)
    await lab.until(pod, lambda pod: container_status(pod)["restartCount"] == 1)
    await until(lambda: boot_id(admin, name), lambda now: now != boot)


async def test_a_deleted_node_comes_back_when_it_boots(lab: Lab, admin: Kube) -> None:
    name = lab.node_names[0]
    await call_switch(lab.config.socket_path(), name, down=True, kill=True)
    await admin.delete(NODE, name)
    await call_switch(lab.config.socket_path(), name, down=False)
    await until(lambda: node_ready(admin, name), lambda ready: ready == "True")


async def boot_id(admin: Kube, name: str) -> str:
    return str((await admin.get(NODE, name))["status"]["nodeInfo"]["bootID"])


async def test_a_node_is_registered_with_labels_taints_addresses_and_a_lease(
    start_lab: Callable[[Config], Any], make_config: Callable[..., Config], admin: Kube
) -> None:
    taint = {"key": "example.org/only", "value": "gpu", "effect": "NoSchedule"}
    config = make_config(labels={"nvidia.com/gpu.product": "A100"}, capacity={"cpu": 64}, taints=[taint])
    lab: Lab = await start_lab(config)
    name = lab.node_names[0]
    node: Object = await until(lambda: admin.get(NODE, name), lambda node: condition(node, "Ready") == "True")
    assert node["metadata"]["labels"]["nvidia.com/gpu.product"] == "A100"
    assert taint in [{k: t.get(k) for k in taint} for t in node["spec"]["taints"]]
    assert node["status"]["allocatable"]["cpu"] == "64"
    assert {"type": "InternalIP", "address": config.nodes[0].address} in node["status"]["addresses"]
    lease_path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
    lease = await admin.request("GET", lease_path)
    renewed = lease["spec"]["renewTime"]
    await until(lambda: admin.request("GET", lease_path), lambda lease: lease["spec"]["renewTime"] > renewed)


async def test_a_bad_request_to_the_switch_says_what_to_send(lab: Lab) -> None:
    connector = aiohttp.UnixConnector(str(lab.config.socket_path()))
    async with aiohttp.ClientSession(connector=connector) as session:
        url = "http://lab/lab/nodes/"
        async with session.post(url + lab.node_names[0], data=b'{"dwn": true}') as answer:
            assert answer.status == 400
            assert '"down": true' in await answer.text()
        async with session.post(url + "nobody", data=b'{"down": true}') as answer:
            assert answer.status == 404
            assert lab.node_names[0] in await answer.text()


async def test_a_second_program_for_the_same_node_is_refused(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="another node stand-in"):
        await NodeProgram(lab.config).run()


def test_a_bad_configuration_ends_the_command_with_what_to_change(tmp_path: Path) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text("nodes: [{name: a, address: 10.0.0.1, kubeconfig: x}]\nimages: {}\nlab_dir: .lab\n")
    done = subprocess.run(
        [sys.executable, "-m", "ingle_lab.node", "--config", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nodes: a: address: 10.0.0.1 is not in 127.0.0.0/8" in done.stderr


async def test_the_program_ends_on_term_and_takes_its_processes_along(
    make_config: Callable[..., Config], admin: Kube, plane: Any, tmp_path: Path
) -> None:
    config = make_config()
    lab = Lab(plane, config, admin)
    with program(config, tmp_path) as running:
        name = await lab.pod("ends", FOREVER, terminationGracePeriodSeconds=1)
        pid = pid_of(await lab.until_ready(name))
        running.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.wait, 10) == 0
        assert gone(pid)
    await admin.delete(POD, name, "default", grace_s=0)
    await admin.delete(NODE, lab.node_names[0])


def test_a_long_log_is_moved_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a_b_c.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"x" * 60)
        bound_log(path, 100)
        writer.write(b"new")
    assert path.read_bytes() == b"new"
    assert os.stat(f"{path}.1").st_size == 60
