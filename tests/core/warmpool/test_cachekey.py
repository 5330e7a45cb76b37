"""Names of weights and compile caches on nodes' disks, and why an engine found none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingle_core.facts import GpuNode, node_facts
from ingle_core.warmpool.cachekey import (
    FOLDER_BYTES_MAX,
    Compiled,
    bases_for,
    compile_base,
    compile_key,
    folder_of,
    hardware_of,
    split_key,
    weights_name,
)
from ingle_core.warmpool.cachemiss import Disk, compile_miss, weights_miss

PLAIN = Compiled("chat", "vllm:1", "meta/llama", ("--dtype", "bfloat16"), 1, 8192, (("VLLM_USE_V1", "1"),))
HOPPER, AMPERE = hardware_of("NVIDIA H100 80GB HBM3", "580.65.06"), hardware_of("NVIDIA A100", "580.65.06")


@pytest.mark.parametrize(
    "change",
    [
        {"namespace": "other"},
        {"image": "vllm:2"},
        {"model": "meta/llama-2"},
        {"args": ("--dtype", "float16")},
        {"args": ("--dtype", "bfloat16", "--quantization", "fp8")},
        {"gpus": 2},
        {"context_tokens": 4096},
        {"context_tokens": None},
        {"environment": ()},
    ],
)
def test_what_changes_what_is_compiled_changes_the_base(change: dict[str, Any]) -> None:
    assert compile_base(replace(PLAIN, **change)) != compile_base(PLAIN)


@pytest.mark.parametrize(
    "more",
    [
        ("--port", "8001"),
        ("--port=8001",),
        ("--served-model-name", "a", "b"),
        ("--kv_cache_memory_bytes", "4G"),
        ("--enable-sleep-mode",),
    ],
)
def test_flags_for_address_names_and_cache_size_leave_the_base_as_it_is(more: tuple[str, ...]) -> None:
    assert compile_base(replace(PLAIN, args=(*more, *PLAIN.args))) == compile_base(PLAIN)
    assert compile_base(replace(PLAIN, args=(*PLAIN.args, *more))) == compile_base(PLAIN)


def test_the_order_of_variables_does_not_matter_and_two_spellings_of_a_flag_are_one() -> None:
    two = (("B", "2"), ("A", "1"))
    assert compile_base(replace(PLAIN, environment=two)) == compile_base(
        replace(PLAIN, environment=two[::-1])
    )
    dashes, lines = (("--max-num-seqs", "8"), ("--max_num_seqs", "8"))
    assert compile_base(replace(PLAIN, args=dashes)) == compile_base(replace(PLAIN, args=lines))


def test_a_key_names_product_and_driver_in_clear_and_comes_apart_again() -> None:
    assert HOPPER == "NVIDIA-H100-80GB-HBM3_580.65.06"
    assert split_key(compile_key("00ff", HOPPER)) == ("00ff", HOPPER)
    assert hardware_of("", "../..") == "unknown_unknown"


def test_a_cache_serves_only_the_hardware_it_was_made_for_and_one_without_any_serves_all() -> None:
    keys = [compile_key("a", HOPPER), compile_key("b", AMPERE), "c"]
    assert bases_for(keys, [HOPPER]) == {"a", "c"}


def test_a_node_offers_caches_of_its_own_gpus_and_driver_and_weights_that_are_whole() -> None:
    warm = [
        {"kind": "Weights", "model": "whole"},
        {"kind": "Weights", "model": "half", "partial": True},
        {"kind": "CompileCache", "key": compile_key("a", HOPPER)},
        {"kind": "CompileCache", "key": compile_key("old", hardware_of("NVIDIA H100 80GB HBM3", "570.1"))},
    ]
    gpus = [{"uuid": "GPU-1", "product": "NVIDIA H100 80GB HBM3"}]
    status = {"warm": warm, "gpus": gpus, "driverVersion": "580.65.06"}
    node = GpuNode.from_dict({"metadata": {"name": "n"}, "status": status})
    facts = node_facts(node, heard_at_s=0.0)
    assert (facts.weights, facts.compiled) == ({"whole"}, {"a"})
    assert node.status.hardware(["GPU-1"]) == HOPPER


def test_weights_of_two_claims_never_share_a_folder_and_its_name_is_short_enough() -> None:
    assert weights_name("chat", "m", "claim", "a") != weights_name("chat", "m", "claim", "b")
    assert weights_name("chat", "m", "claim", "a").startswith("chat/m@")
    long = weights_name("n" * 63, "ü/" * 120, "c" * 253, "p" * 512)
    assert len(folder_of(long)) <= FOLDER_BYTES_MAX
    assert "/" not in folder_of(long)


def test_weights_that_are_whole_on_the_node_are_no_miss() -> None:
    assert weights_miss("w", "a", {"a": Disk(whole=frozenset({"w"}))}) is None


@pytest.mark.parametrize(
    ("disks", "reason", "elsewhere"),
    [
        ({}, "NowhereYet", False),
        ({"b": Disk(whole=frozenset({"w"}))}, "OnOtherNode", True),
        ({"a": Disk(partial=frozenset({"w"}))}, "Partial", False),
        ({"a": Disk(partial=frozenset({"w"})), "b": Disk(whole=frozenset({"w"}))}, "Partial", True),
    ],
)
def test_a_weights_miss_says_why(disks: dict[str, Disk], reason: str, elsewhere: bool) -> None:
    miss = weights_miss("w", "a", disks)
    assert miss is not None
    assert (miss.reason, miss.elsewhere) == (reason, elsewhere)


@pytest.mark.parametrize(
    ("key_on", "reason"),
    [
        ({"b": compile_key("k", HOPPER)}, "OnOtherNode"),
        ({"a": compile_key("k", AMPERE), "b": "other"}, "OtherHardware"),
        ({"b": compile_key("other", HOPPER)}, "NowhereYet"),
    ],
)
def test_a_compile_miss_says_why(key_on: dict[str, str], reason: str) -> None:
    disks = {node: Disk(compiled=frozenset({key})) for node, key in key_on.items()}
    miss = compile_miss("k", HOPPER, "a", disks)
    assert miss is not None
    assert (miss.reason, miss.elsewhere) == (reason, reason != "NowhereYet")


def test_a_miss_for_another_driver_names_both() -> None:
    old = hardware_of("NVIDIA H100 80GB HBM3", "570.1")
    miss = compile_miss("k", HOPPER, "a", {"a": Disk(compiled=frozenset({compile_key("k", old)}))})
    assert miss is not None
    assert miss.text == f"node a has compile cache k for {old}, wanted {HOPPER} on a"


@pytest.mark.parametrize("key", ["k", compile_key("k", HOPPER)])
def test_a_cache_for_this_hardware_or_for_any_is_no_miss(key: str) -> None:
    assert compile_miss("k", HOPPER, "a", {"a": Disk(compiled=frozenset({key}))}) is None
