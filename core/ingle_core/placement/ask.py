"""What a pod asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Level = Literal["Required", "Preferred", "None"]


class AskMemory(msgspec.Struct, frozen=True):
    """MiB: `awake` and `asleep` per GPU, `host` per replica."""

    awake: int
    asleep: int = 0
    host: int = 0


class GpuAnnotation(msgspec.Struct, frozen=True):
    """An annotation that the pod's Binding carries: the UUID of each GPU behind `prefix`, comma separated."""

    key: str
    prefix: str = ""

    def value(self, gpus: Iterable[str]) -> str:
        return ",".join(self.prefix + uuid for uuid in gpus)


class Ask(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=False,
    rename={"memory_mib": "memoryMiB", "gpu_annotation": "gpuAnnotation", "compile_key": "compileKey"},
):
    """The annotation `ingle.dev/placement`. `watts` per GPU; no products: any that fits.

    `spare`: it starts without its model, so it takes nothing yet; its GPUs must be able to hold it awake once they are empty.
    `model`: whose weights it loads, `weights`: their name on nodes' disks, empty: the model's; `compile_key`: base of
    the compile cache it can use; empty: not told.
    `scorers`: percent of their usual weight for scorers by name in camelCase; not named: 100, unknown: ignored.
    `gpu_annotation`: what the way of attachment wants beside `ingle.dev/gpus`.
    """

    memory_mib: AskMemory
    pool: str = ""
    variant: str = ""
    gpus: int = 1
    watts: int = 0
    products: tuple[str, ...] = ()
    numa: Level = "Preferred"
    nvlink: Level = "Preferred"
    strategy: Literal["Pack", "Spread"] = "Pack"
    priority: str = "Normal"
    spare: bool = False
    model: str = ""
    compile_key: str = ""
    weights: str = ""
    scorers: dict[str, int] = {}
    gpu_annotation: GpuAnnotation | None = None

    @property
    def charge_mib(self) -> int:
        """What the start takes of each GPU."""
        return 0 if self.spare else self.memory_mib.awake

    @property
    def charge_w(self) -> int:
        """The same in W."""
        return 0 if self.spare else self.watts

    @property
    def stored(self) -> str:
        """Name of its weights on a node's disk; empty where nothing is told."""
        return self.weights or self.model

    def __post_init__(self) -> None:
        least = {"gpus": (self.gpus, 1), "memoryMiB.awake": (self.memory_mib.awake, 1)}
        least |= {"memoryMiB.host": (self.memory_mib.host, 0), "watts": (self.watts, 0)}
        least |= {f"scorers.{name}": (percent, 0) for name, percent in self.scorers.items()}
        for field, (value, minimum) in least.items():
            if value < minimum:
                raise ValueError(f"{field} must be at least {minimum}, not {value}")


def ask_from_annotation(text: str | bytes) -> Ask:
    """Reads the annotation; ValueError says which field is wrong."""
    return msgspec.json.decode(text, type=Ask)


def ask_from_amount(memory_mib: int) -> Ask:
    """The ask of a pod without the annotation: one GPU with as much memory as its extended resource."""
    return Ask(memory_mib=AskMemory(awake=memory_mib))
