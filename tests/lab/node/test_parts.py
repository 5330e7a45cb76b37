"""The small pure parts: commands, quantities, addresses, admission, configuration."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle_kit.kube import Object
from ingle_lab.node.addresses import PODS_MAX, AddressPool, NoAddress
from ingle_lab.node.admission import (
    Images,
    image_of,
    out_of,
    prefix_of,
    programs_of,
    requests_of,
    unsupported,
)
from ingle_lab.node.command import command_of, expand, relocate
from ingle_lab.node.config import ConfigError, Image, load_config
from ingle_lab.node.facts import NotYet, Place
from ingle_lab.node.node_status import labels_patch, node_object, node_status_patch
from ingle_lab.node.quantity import parse_quantity
from ingle_lab.node.volumes import make_volumes

PLACE = Place("n1", "127.21.0.1", "127.21.0.2", "127.0.0.1", 6443)
POD: Object = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "x"}, "annotations": {}},
    "spec": {"serviceAccountName": "acc", "containers": [{"name": "main", "image": "engine:1"}]},
}


def pod(container: Object | None = None, **spec: Any) -> Object:
    base = {"name": "main", "image": "engine:1"}
    return {
        "metadata": POD["metadata"],
        "spec": POD["spec"] | {"containers": [base | (container or {})]} | spec,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", "2"),
        ("500m", "0.5"),
        ("64Gi", str(64 * 2**30)),
        ("1.5k", "1500"),
        ("3e3", "3000"),
        ("12E", "12e18"),
    ],
)
def test_quantities(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "two", "1 Gi", "1gi"])
def test_a_bad_quantity_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


def test_variables_expand_as_in_kubernetes() -> None:
    assert expand("$(A)-$$(A)-$(B)-$A-$$", {"A": "1"}) == "1-$(A)-$(B)-$A-$"


def test_only_whole_mount_paths_move() -> None:
    folders = {"/data": "/lab/d", "/data/deep": "/lab/e"}
    text = "--file=/data/x,/data/deep/y /database /data-2 my/data (/data)"
    assert relocate(text, folders) == "--file=/lab/d/x,/lab/e/y /database /data-2 my/data (/lab/d)"


def test_a_command_is_prefix_command_and_args_and_literals_win_over_the_nodes_environment() -> None:
    container = {
        "name": "main",
        "command": ["serve"],
        "args": ["--port=$(PORT)", "/m/x"],
        "env": [{"name": "PORT", "value": "8000"}, {"name": "LAB", "value": "pod"}],
        "volumeMounts": [{"name": "my-models", "mountPath": "/m", "subPath": "one"}],
        "workingDir": "/m",
    }
    command = command_of(
        container,
        POD,
        PLACE,
        prefix=["run"],
        base_env={"LAB": "node"},
        volumes={"my-models": "/v"},
        sources={},
    )
    assert command.argv == ("run", "serve", "--port=8000", "/v/one/x")
    assert command.env["LAB"] == "pod"
    assert command.env["INGLE_LAB_MOUNT_MY_MODELS"] == "/v"
    assert command.cwd == "/v/one"


def test_a_folder_of_a_volume_is_named_by_a_variable_and_told_to_be_made() -> None:
    container = {
        "args": ["/cache/x"],
        "env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "volumeMounts": [{"name": "v", "mountPath": "/cache", "subPathExpr": "of_$(WHO)"}],
    }
    command = command_of(container, POD, PLACE, prefix=[], base_env={}, volumes={"v": "/v"}, sources={})
    assert command.argv == ("/v/of_p/x",)
    assert command.sub_paths == ("/v/of_p",)


def test_every_documented_field_can_be_a_variable() -> None:
    paths = {
        "metadata.name": "p",
        "metadata.namespace": "ns",
        "metadata.uid": "u",
        "metadata.labels['app']": "x",
        "metadata.annotations['none']": "",
        "spec.nodeName": "n1",
        "spec.serviceAccountName": "acc",
        "status.podIP": "127.21.0.2",
        "status.hostIP": "127.21.0.1",
    }
    env = [{"name": f"V{n}", "valueFrom": {"fieldRef": {"fieldPath": path}}} for n, path in enumerate(paths)]
    seen = command_of({"env": env}, POD, PLACE, prefix=[], base_env={}, volumes={}, sources={}).env
    assert [seen[f"V{n}"] for n in range(len(paths))] == list(paths.values())


def test_a_missing_config_map_is_named_unless_optional(tmp_path: Path) -> None:
    folders = {"pod_dir": tmp_path, "host_dir": tmp_path, "claims_dir": tmp_path}
    for optional in (False, True):
        volume = {"name": "v", "configMap": {"name": "gone", "optional": optional}}
        wanted = pod(volumes=[volume])
        if optional:
            assert make_volumes(wanted, PLACE, {}, **folders).folders
        else:
            with pytest.raises(NotYet, match='configmap "gone" not found'):
                make_volumes(wanted, PLACE, {}, **folders)


def test_a_secret_is_decoded_a_host_path_outlives_the_pod_and_a_claim_is_one_for_all_nodes(
    tmp_path: Path,
) -> None:
    volumes = [
        {"name": "c", "persistentVolumeClaim": {"claimName": "models"}},
        {"name": "s", "secret": {"secretName": "pw"}},
        {"name": "h", "hostPath": {"path": "/var/lib/ingle"}},
    ]
    sources: Any = {("Secret", "pw"): {"data": {"key": "aGVsbG8="}}}
    made = make_volumes(
        pod(volumes=volumes),
        PLACE,
        sources,
        pod_dir=tmp_path / "pod",
        host_dir=tmp_path / "host",
        claims_dir=tmp_path / "claims",
    )
    assert made.folders["c"] == str(tmp_path / "claims" / pod()["metadata"]["namespace"] / "models")
    assert Path(made.folders["s"], "key").read_bytes() == b"hello"
    assert made.folders["h"] == str(tmp_path / "host/var/lib/ingle")


def test_the_first_pattern_that_matches_an_image_wins() -> None:
    images: Images = {"ingle/engine:*": ["one"], "ingle/*": ["two"]}
    assert image_of("ingle/engine:1", images) == ["one"]
    assert image_of("ingle/agent", images) == ["two"]
    assert image_of("nginx", images) is None


def test_a_command_stands_behind_first_words_and_in_the_place_of_an_entrypoint() -> None:
    images: Images = {"words": ["one"], "whole": Image(entrypoint=["one"], bin="/programs")}
    own = {"command": ["two"]}
    assert [prefix_of({"image": name} | own, images) for name in ("words", "whole")] == [["one"], []]
    assert [prefix_of({"image": name}, images) for name in ("words", "whole")] == [["one"], ["one"]]
    assert [programs_of({"image": name}, images) for name in ("words", "whole")] == ["", "/programs"]


@pytest.mark.parametrize(
    ("container", "spec", "words"),
    [
        ({"lifecycle": {"postStart": {"exec": {}}}}, {}, "lifecycle.postStart in container main"),
        ({"readinessProbe": {"grpc": {"port": 1}}}, {}, "readinessProbe.grpc"),
        ({"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {}}}]}, {}, "env A from resourceFieldRef"),
        ({}, {"volumes": [{"name": "v", "nfs": {}}]}, "volume v (nfs)"),
        ({}, {"initContainers": [{"name": "i", "image": "engine:1", "restartPolicy": "Always"}]}, "sidecar"),
    ],
)
def test_what_is_not_supported_is_named(container: Object, spec: Object, words: str) -> None:
    refusal = unsupported(pod(container, **spec), {"engine:*": []})
    assert refusal is not None
    assert words in refusal.message


def test_requests_add_up_and_only_advertised_resources_run_out() -> None:
    asked = requests_of(pod({"resources": {"requests": {"cpu": "3", "example.org/x": "9"}}}))
    allocatable = {"cpu": Decimal(4), "pods": Decimal(2)}
    assert out_of(asked, [], allocatable) is None
    refusal = out_of(asked, [asked], allocatable)
    assert refusal is not None
    assert refusal.reason == "OutOfcpu"
    assert "requested: 3, used: 3, capacity: 4" in refusal.message


@given(st.lists(st.booleans(), max_size=400))
def test_no_address_is_given_twice(takes: list[bool]) -> None:
    pool, held = AddressPool("127.21.0.1"), []
    for take in takes:
        if take and len(held) < PODS_MAX:
            address = pool.take()
            assert address not in held
            held.append(address)
        elif held:
            pool.give_back(held.pop(0))


def test_a_node_without_free_addresses_says_so_and_keeps_a_wanted_one() -> None:
    pool = AddressPool("127.21.0.1")
    assert pool.take("127.21.0.9") == "127.21.0.9"
    assert pool.take("127.99.0.9") == "127.21.0.2"
    for _ in range(PODS_MAX - 2):
        pool.take()
    with pytest.raises(NoAddress, match=r"after 127\.21\.0\.1"):
        pool.take()


CONFIG = "images: {}\nlab_dir: .lab\nnodes:\n- {name: a, address: 127.21.0.1, kubeconfig: KC"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (", colour: red}", "unknown field `colour`"),
        (", capacity: {cpu: many}}", "nodes: a: capacity: cpu: 'many' is not a quantity"),
        ("}\n- {name: a, address: 127.22.0.1, kubeconfig: KC}", "nodes: two have the name a"),
        ("}\n- {name: b, address: 127.21.0.1, kubeconfig: KC}", "nodes: two have the address 127.21.0.1"),
        ("}\n- {name: b, address: here, kubeconfig: KC}", "nodes: b: address"),
        ("}\n- {name: b, address: 127.9.0.1, kubeconfig: none}", "nodes: b: kubeconfig: no file none"),
    ],
)
def test_a_bad_configuration_says_what_and_where(more: str, words: str, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kc"
    kubeconfig.touch()
    path = tmp_path / "nodes.yaml"
    path.write_text((CONFIG + more).replace("KC", str(kubeconfig)))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_node_that_says_what_we_say_needs_no_write_and_keeps_what_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text((CONFIG + "}").replace("KC", str(path)))
    config = load_config(path).nodes[0]
    node = node_object(config)
    args = (config, "boot", "v1", "kernel", "2026-01-01T00:00:00Z")
    first = node_status_patch(node, *args)["status"]
    first["addresses"] = first["addresses"][1:]  # the server takes the directive away
    theirs = {"type": "Theirs", "status": "True"}
    first["conditions"].append(theirs)
    first["capacity"] |= {"example.org/gpu": "8"}
    assert node_status_patch(node | {"status": first}, *args) == {}
    assert labels_patch(node, config) == {}
    lost = {**first, "conditions": [theirs]}
    patch = node_status_patch(node | {"status": lost}, *args)["status"]
    assert [c["type"] for c in patch["conditions"]] == [
        "MemoryPressure",
        "DiskPressure",
        "PIDPressure",
        "Ready",
    ]
