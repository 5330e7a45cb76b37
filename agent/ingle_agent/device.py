"""What the agent wants of GPUs: bytes, watts, joules. NVML is behind it (nvml.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Health = Literal["Healthy", "Lost", "Unreadable"]


@dataclass(frozen=True, slots=True)
class GpuShape:
    """What seldom changes while the driver is loaded. Limits 0 where power cannot be managed.

    A MIG instance is one of its own, without limits: `parent` is the UUID of the GPU that it is part of, else empty.
    """

    uuid: str
    index: int
    product: str
    pcie: str
    numa: int | None
    nvlink_peers: tuple[str, ...]
    min_w: int
    max_w: int
    default_w: int
    mig: bool
    parent: str = ""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU; `memory_bytes` None where the driver does not tell."""

    pid: int
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One reading; `used_bytes` without `reserved_bytes`. A GPU that cannot be read repeats its last one."""

    uuid: str
    health: Health = "Unreadable"
    total_bytes: int = 0
    reserved_bytes: int = 0
    used_bytes: int = 0
    free_bytes: int = 0
    draw_w: float = 0.0
    limit_w: float = 0.0
    enforced_w: float = 0.0
    sm_mhz: int = 0
    energy_j: float = 0.0
    throttle: int = 0
    processes: tuple[GpuProcess, ...] | None = None


class DeviceError(Exception):
    """The driver said no; it may be tried again."""


class NotPermitted(DeviceError):
    """This process may not change limits."""


class Device(Protocol):
    """The GPUs of this node. All calls come from one thread; each may take as long as the driver does."""

    @property
    def errors(self) -> Mapping[str, int]:
        """Failed driver calls so far, by the driver's error name."""

    @property
    def driver_version(self) -> str:
        """Empty where the driver does not tell."""

    def open(self) -> None:
        """Load the driver library and find the GPUs. Raises DeviceError with what to do."""

    def shapes(self) -> tuple[GpuShape, ...]:
        """By index, MIG instances after the GPU that they are part of; they may come and go with `samples`."""

    def samples(self) -> tuple[GpuSample, ...]:
        """A reading of each GPU, in the order of `shapes`. Never raises for one broken GPU."""

    def set_limit(self, uuid: str, watts: int) -> None:
        """Ask for a power limit. Raises NotPermitted or DeviceError; says nothing about what is enforced."""

    def close(self) -> None: ...
