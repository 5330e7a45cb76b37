"""Parts of an InferencePool's spec: the engine, and the variants of the model it may run."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ingle_kit.objects.base import ATOMIC, SET, ApiModel, Label63, Mib, Name253, ProductName, Rule, Watts

Argument = Annotated[str, Field(max_length=1024)]


class Weights(ApiModel):
    """Where the weights are."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!self.path.split('/').exists(part, part == '..')",
            "path stays inside the claim: remove '..'",
            lambda s: ".." not in s.path.split("/"),
        ),
    )
    claim_name: Name253 = Field(
        description="PersistentVolumeClaim in the pool's namespace that holds the weights; mounted read-only."
    )
    path: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^/]")] = Field(
        description="Folder of the weights in the claim, relative."
    )
    size_mib: Mib = Field(
        description="Size of the weights in MiB; a copy is made only on nodes whose disk has room for so many."
    )


class Engine(ApiModel):
    """How a replica is run."""

    kind: Literal["VLLM", "SGLang", "Custom"] = Field(
        description="Which engine it is. VLLM and SGLang can sleep; Custom is only started and stopped."
    )
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[!-~]+$")] = Field(
        description="Container image of the engine."
    )
    args: Annotated[list[Argument], Field(max_length=64, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="Arguments for every variant. Absent: none but ours."
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=8000, description="Port the engine answers HTTP on. Absent: 8000."
    )
    start_seconds: Annotated[int, Field(ge=1, le=7200)] = Field(
        default=300, description="Seconds until a start that is not ready counts as failed. Absent: 300."
    )
    weights: Weights | None = Field(
        default=None, description="Where the weights are. Absent: the image brings or fetches them itself."
    )
    node_cache: bool | None = Field(
        default=None,
        description="Whether replicas get compile caches and copies of weights of their node where the installation keeps "
        "those; they are hostPath volumes, which Pod Security baseline and restricted forbid. Absent: true.",
    )


class VariantMemory(ApiModel):
    """Memory of one replica; measured values take over once there are some."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.asleep < self.awake",
            "memoryMiB.asleep must be less than memoryMiB.awake: sleeping gives memory back",
            lambda s: s.asleep < s.awake,
            ".asleep",
        ),
        Rule(
            "!has(self.kvCache) || self.kvCache < self.awake",
            "memoryMiB.kvCache is part of memoryMiB.awake: lower it or raise awake",
            lambda s: s.kv_cache is None or s.kv_cache < s.awake,
            ".kvCache",
        ),
    )
    awake: Annotated[int, Field(ge=1, le=16_777_216)] = Field(description="MiB on each GPU while awake.")
    asleep: Mib = Field(
        description="MiB that stay on each GPU while asleep (CUDA context, graphs); with warm.level Spare none do."
    )
    host: Mib = Field(
        description="MiB of host memory of the replica while asleep (its weights, all GPUs together); with warm.level L2 and"
        " Spare it is what reading them may take, and not claimed for sleepers."
    )
    kv_cache: Mib | None = Field(
        default=None,
        description="MiB of `awake` for the KV cache on each GPU, given to VLLM; SGLang counts tokens instead, give it"
        " --max-total-tokens in args. Absent: the engine decides.",
    )


class VariantWatts(ApiModel):
    """Draw of one replica, all its GPUs together."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.idle <= self.busy",
            "watts.idle must not be above watts.busy",
            lambda s: s.idle <= s.busy,
            ".idle",
        ),
    )
    busy: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        description="Watts of the replica while serving; this is what it is charged for under a PowerBudget."
    )
    idle: Watts = Field(description="Watts of the replica while awake without requests.")


class Variant(ApiModel):
    """One way to run the model: a precision on a kind and number of GPUs."""

    name: Label63 = Field(description="Name of the variant, unique in the pool.")
    gpus: Annotated[int, Field(ge=1, le=16)] = Field(description="GPUs of one replica, all on one node.")
    memory_mib: VariantMemory = Field(description="Memory of one replica in MiB.")
    watts: VariantWatts = Field(description="Draw of one replica in watts.")
    args: Annotated[list[Argument], Field(max_length=64, json_schema_extra=ATOMIC)] = Field(
        default_factory=list, description="Arguments after those of spec.engine.args. Absent: none."
    )
    gpu_products: Annotated[list[ProductName], Field(max_length=16, json_schema_extra=SET)] = Field(
        default_factory=list,
        description="GPU products it may run on, as NVML names them. Absent or empty: any.",
    )
    context_tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = Field(
        default=None, description="Longest context in tokens. Absent: the engine's own limit."
    )
