"""The parts of the throughput benchmark that need no control plane."""

from __future__ import annotations

import os
import time

import pytest
from bench.real import throughput
from bench.real.processor import CLIENT, cpu_s, middle, ms_a_pod

from ingle_kit.names import RESOURCE_GPU_MEMORY, RESOURCE_NVIDIA_GPU


def test_processor_time_of_a_process_is_what_the_kernel_counted_for_it() -> None:
    until_s = time.process_time() + 0.05
    while time.process_time() < until_s:
        pass
    read = cpu_s({"me": os.getpid()})
    assert 0.03 <= read["me"] <= read[CLIENT] + 0.01
    with pytest.raises(FileNotFoundError):
        cpu_s({"nobody": 2**22 + 1})


def test_milliseconds_a_pod_are_the_growth_between_two_readings_shared_by_the_pods() -> None:
    before, after = {"a": 1.0, "b": 0.5}, {"a": 3.0, "b": 0.5}
    assert ms_a_pod(before, after, 1000) == {"a": 2.0, "b": 0.0}


def test_the_middle_round_is_told_whole() -> None:
    rounds = [{"a": 9.0, "b": 1.0}, {"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 3.0}]
    assert middle(rounds) == {"a": 2.0, "b": 3.0}


def test_pods_of_all_modes_differ_in_nothing_but_the_extended_resource() -> None:
    asked, rest = {}, []
    for name, mode in throughput.MODES.items():
        body = throughput._pod("p", mode)
        resources = body["spec"]["containers"][0].pop("resources")
        limits = resources["limits"]
        assert resources["requests"] == {"cpu": "100m", "memory": "128Mi"} | limits
        asked[name], rest = limits.keys(), [*rest, body]
    assert all(body == rest[0] for body in rest)
    ours = {RESOURCE_GPU_MEMORY}
    assert asked == {
        "no_extender": set(),
        "no_extender_whole_gpu": {RESOURCE_NVIDIA_GPU},
        "no_extender_same_pods": ours,
        "extender": ours,
        "extender_and_claims": ours,
    }


def test_each_ratio_names_its_baseline_and_only_those_against_pods_without_resource_have_a_target() -> None:
    rates = dict(zip(throughput.MODES, (200.0, 150.0, 160.0, 120.0, 80.0), strict=True))
    rows = {row["name"]: row for row in throughput._rates(rates)}
    against = {name: (row["value"], row["baseline_value"], row["met"]) for name, row in rows.items()}
    assert against["bound_ratio_extender"] == (0.6, 200.0, False)
    assert against["bound_ratio_extender_and_claims"] == (0.4, 200.0, False)
    assert against["bound_ratio_extender_same_pods"] == (0.75, 160.0, None)
    assert against["bound_ratio_extender_and_claims_same_pods"] == (0.5, 160.0, None)


def test_processor_time_is_told_as_the_sum_over_all_processes_and_what_the_extender_changes_of_it() -> None:
    parts = {"etcd": 1.0, "kube-apiserver": 3.0, "kube-scheduler": 4.0, CLIENT: 0.5}
    cpu_ms = {
        name: parts | ({"extender": 2.0} if mode.module else {}) for name, mode in throughput.MODES.items()
    }
    told = {row["name"]: row["value"] for row in throughput._processor_times(cpu_ms)}
    assert (told["cpu_ms_a_pod_no_extender_same_pods"], told["cpu_ms_a_pod_extender"]) == (8.5, 10.5)
    assert told["cpu_ms_a_pod_extender, extender"] == 2.0
    assert "cpu_ms_a_pod_no_extender, extender" not in told
