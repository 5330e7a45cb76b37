"""Names of what lies on a node's disk for an engine: copies of weights, and compile caches.

A compile cache is `BASE_HARDWARE`. BASE is known when the pod is made: everything that the pool says and that decides
what is compiled. HARDWARE is known when the pod is bound: product of its GPUs and version of their driver, in clear, so
that a person can see why a cache does not serve. vLLM keeps its own finer hash in subfolders of VLLM_CACHE_ROOT (its
code, the model's configuration, the compiler), so two keys that are equal here never mix up what differs there.

Both kinds of name hold the namespace: who can fill a folder can put code into the engines that read it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote

SEPARATOR: Final = "_"
BASE_DIGITS: Final = 16
MODEL_LETTERS_MAX: Final = 100
FOLDER_BYTES_MAX: Final = 240  # file systems take 255, and a copy under way has some more
UNKNOWN: Final = "unknown"
_OTHER = re.compile(r"[^A-Za-z0-9.]+")

_WITH_VALUE: Final = frozenset(
    {"--host", "--port", "--served-model-name", "--kv-cache-memory-bytes", "--seed"}
)
_ALONE: Final = frozenset({"--enable-sleep-mode"})


@dataclass(frozen=True)
class Compiled:
    """What a pool says that decides what its engine compiles.

    `args` of pool and variant in their order; `gpus` of one replica; `context_tokens` None: the model's own;
    `environment`: name and value (or where it comes from) of the template's variables.
    """

    namespace: str
    image: str
    model: str
    args: tuple[str, ...]
    gpus: int
    context_tokens: int | None
    environment: tuple[tuple[str, str], ...] = ()


def compile_base(of: Compiled) -> str:
    """The first 16 hexadecimal digits of a SHA-256. Flags that change nothing that is compiled are left out."""
    parts = [
        of.namespace,
        of.image,
        of.model,
        compiling_args(of.args),
        of.gpus,
        of.context_tokens,
        sorted(of.environment),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:BASE_DIGITS]


def compiling_args(args: Sequence[str]) -> list[str]:
    """The arguments without those for address, names, seed and the size of the KV cache, in one spelling."""
    kept, skip = [], False
    for arg in args:
        name, equals, value = arg.partition("=")
        flag = name.replace("_", "-") if name.startswith("--") else name
        if flag.startswith("-"):
            skip = False
        if skip or flag in _ALONE:
            continue
        if flag in _WITH_VALUE:
            skip = not equals
            continue
        kept.append(flag + equals + value)
    return kept


@lru_cache(maxsize=1024)
def hardware_of(product: str, driver: str) -> str:
    """`PRODUCT_DRIVER` with other than letters, digits and dots as dashes; `unknown` for what is not told."""
    words = (_OTHER.sub("-", word).strip("-.") or UNKNOWN for word in (product, driver))
    return SEPARATOR.join(words)


def compile_key(base: str, hardware: str) -> str:
    return f"{base}{SEPARATOR}{hardware}"


def split_key(key: str) -> tuple[str, str]:
    """Base and hardware. A key of somebody else's making has no hardware: it is taken to serve any."""
    base, _, hardware = key.partition(SEPARATOR)
    return base, hardware


def bases_for(keys: Iterable[str], hardware: Iterable[str]) -> frozenset[str]:
    """Bases of the keys that serve on any of these kinds of hardware."""
    found = set(hardware)
    return frozenset(base for base, made_for in map(split_key, keys) if not made_for or made_for in found)


def weights_name(namespace: str, model: str, claim: str, path: str) -> str:
    """Name of a copy of the weights at `path` of a claim: readable, and different for each of the four."""
    digest = hashlib.sha256(json.dumps([namespace, model, claim, path]).encode()).hexdigest()[:10]
    name = f"{namespace}/{model[:MODEL_LETTERS_MAX]}@{digest}"
    return name if len(folder_of(name)) <= FOLDER_BYTES_MAX else f"{namespace}/@{digest}"


def folder_of(name: str) -> str:
    """Name of the folder for a copy of weights: percent-encoded."""
    return quote(name, safe="@")
