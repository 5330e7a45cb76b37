"""The pools of the benchmark: 8B models on one H100 each, with the times of the engine stand-in's profiles.

Times at time scale 1, from `hack/lab/ingle_lab/engine/profiles`: load 42.0 to 42.5 s (38.0 s to start vLLM with a tiny
model + 4.4 s to read 15 GiB on an H100), wake from level 1 0.75 to 0.82 s (line through 1.2 GiB in 0.26 s and 61.7 GiB
in 2.67 s), sleep 1.8 to 2.0 s, about twice that the first time. Each profile names its sources.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from ingle_kit.kube import Object
from ingle_lab.demo.scene import NAMESPACE
from ingle_lab.engine.profile import Profile, profile_of
from ingle_lab.stack.stack import ROOT

# profile, and the example pool that says what such a model takes
KINDS: Final = (
    ("Llama-3.1-8B-Instruct", "llama-8b"),
    ("Mistral-7B-Instruct-v0.3", "mistral-7b"),
    ("Qwen3-8B", "qwen-8b"),
)
LONG: Final = "long"
LONG_CONTEXT_TOKENS: Final = 131_072


def names(count: int) -> list[str]:
    """Pools m00, m01, ..., the most asked for first."""
    return [f"m{number:02}" for number in range(count)]


def long_names(count: int) -> list[str]:
    """The same of a model that takes 128 k tokens."""
    return [f"{LONG}{number:02}" for number in range(count)]


def kind_of(name: str) -> tuple[str, str]:
    """Profile and example of a pool: the three kinds in turn, so that each is popular and unpopular alike."""
    return KINDS[0] if name.startswith(LONG) else KINDS[int(name.removeprefix("m")) % len(KINDS)]


def model_of(name: str) -> str:
    """What clients send as `model`."""
    return f"{name}/{kind_of(name)[0]}"


def profile(name: str) -> Profile:
    return profile_of(model_of(name))


def pool(
    name: str,
    *,
    asleep: int,
    idle_s: int,
    hold_s: int,
    kv_mib: int | None = None,
    keep_alive: str = "Fixed",
    **changes: Any,
) -> Object:
    """The example of its kind under another name, with one replica at most; `changes` at the top of its spec.

    `kv_mib` None: 24 000 as in the example, which leaves room for one awake on an H100; with 18 000 there is for two.
    """
    docs = yaml.safe_load_all((ROOT / "examples" / "pools.yaml").read_text())
    made: Object = next(doc for doc in docs if doc["metadata"]["name"] == kind_of(name)[1])
    made["metadata"] = {"name": name, "namespace": NAMESPACE}
    made["spec"] |= {
        "model": model_of(name),
        "aliases": [name],
        "replicas": {"min": 0, "max": 1},
        "warm": {"asleep": asleep, "idleSeconds": idle_s, "keepAlive": keep_alive},
        "hold": {"seconds": hold_s, "heartbeatSeconds": 1, "waiting": 500},
    } | changes
    (variant,) = made["spec"]["variants"]
    if kv_mib is not None:
        variant["memoryMiB"]["awake"] += kv_mib - variant["memoryMiB"]["kvCache"]
        variant["memoryMiB"]["kvCache"] = kv_mib
    if name.startswith(LONG):
        variant["contextTokens"] = LONG_CONTEXT_TOKENS
    return made
