"""NVML as a Device. The only file that knows milliwatts and millijoules."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from ingle_agent.device import DeviceError, GpuProcess, GpuSample, GpuShape, Health, NotPermitted
from ingle_agent.nvmlmig import instances_of
from ingle_agent.nvmltopology import Links, links_of, numa_of, peers, text_of

T = TypeVar("T")
log = logging.getLogger(__name__)

_ABSENT = {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
_LOST = {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED}
_RELOADED = {pynvml.NVML_ERROR_UNINITIALIZED, pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
MILLI = 1000


class _Broken(Exception):
    """This GPU cannot be read now."""

    def __init__(self, health: Health) -> None:
        self.health: Health = health


class NvmlDevice:
    """Reads and limits GPUs through nvidia-ml-py. A capability that is absent once is not asked for again."""

    def __init__(self, pci_root: Path) -> None:
        self._pci_root = pci_root
        self._handles: dict[str, Any] = {}
        self._shapes: dict[str, GpuShape] = {}
        self._last: dict[str, GpuSample] = {}
        self._absent: set[tuple[str, str]] = set()
        self._reopen = False
        self.errors: Counter[str] = Counter()
        self.driver_version = ""

    def open(self) -> None:
        if not hasattr(pynvml, "_nvmlGetFunctionPointer"):
            raise DeviceError("the module pynvml is not nvidia-ml-py: uninstall the package that shadows it")
        try:
            pynvml.nvmlInit()
            self.driver_version = self._driver_version()
            found = [self._found(index) for index in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            self._count(error)
            raise DeviceError(
                f"NVML: {error}; is the NVIDIA driver loaded and its library visible here?"
            ) from error
        links: dict[str, Links] = {}
        for at in found:
            if at is not None:
                uuid, index, handle = at
                self._handles[uuid] = handle
                self._shapes[uuid], links[uuid] = self._shape(uuid, index, handle)
        for uuid, linked in peers(self._places(), links).items():
            self._shapes[uuid] = replace(self._shapes[uuid], nvlink_peers=linked)
        self._find_instances()
        self._reopen = False

    def close(self) -> None:
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            self._count(error)

    def shapes(self) -> tuple[GpuShape, ...]:
        return tuple(sorted(self._shapes.values(), key=lambda shape: (shape.index, shape.parent, shape.uuid)))

    def samples(self) -> tuple[GpuSample, ...]:
        self.reopen_if_stale()
        self._find_instances()
        return tuple(self._sample(shape.uuid) for shape in self.shapes())

    def reopen_if_stale(self, stale: bool = False) -> None:
        """`stale`: what was found is known to be wrong, as of a GPU that was lost when it was opened."""
        if self._reopen or stale:
            self._open_again()

    def limit_w(self, uuid: str) -> int:
        """The limit asked for, rounded up to whole watts. Raises DeviceError."""
        try:
            return -(-int(pynvml.nvmlDeviceGetPowerManagementLimit(self._handles[uuid])) // MILLI)
        except pynvml.NVMLError as error:
            self._count(error)
            self._reopen = self._reopen or error.value in _RELOADED
            raise DeviceError(f"limit of {uuid} cannot be read: {error}") from error
        except KeyError:
            raise DeviceError(f"{uuid} is no GPU of this node") from None

    def set_limit(self, uuid: str, watts: int) -> None:
        try:
            pynvml.nvmlDeviceSetPowerManagementLimit(self._handles[uuid], watts * MILLI)
        except pynvml.NVMLError as error:
            self._count(error)
            if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
                raise NotPermitted(
                    "no permission to set power limits: needs root or CAP_SYS_ADMIN"
                ) from error
            raise DeviceError(f"limit {watts} W refused for {uuid}: {error}") from error

    def _driver_version(self) -> str:
        try:
            return text_of(pynvml.nvmlSystemGetDriverVersion())
        except pynvml.NVMLError as error:
            self._count(error)
            return ""

    def _open_again(self) -> None:
        """After a driver reload every handle is stale; what the driver could not do before it may do now."""
        self.close()
        self._absent.clear()
        try:
            self.open()
        except DeviceError as error:
            log.warning("%s", error)

    def _places(self) -> dict[str, str]:
        return {uuid: shape.pcie for uuid, shape in self._shapes.items() if not shape.parent}

    def _find_instances(self) -> None:
        """Instances are made and removed while the driver runs. Those of a GPU that cannot be asked stay as they are."""
        for whole in [shape for shape in self._shapes.values() if shape.mig]:
            try:
                found = instances_of(self._handles[whole.uuid], whole)
            except pynvml.NVMLError as error:
                self._count(error)
                continue
            for uuid in [uuid for uuid, shape in self._shapes.items() if shape.parent == whole.uuid]:
                del self._shapes[uuid], self._handles[uuid]
            for handle, shape in found:
                self._shapes[shape.uuid], self._handles[shape.uuid] = shape, handle

    def _found(self, index: int) -> tuple[str, int, Any] | None:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = pynvml.nvmlDeviceGetUUID(handle)
        except pynvml.NVMLError as error:
            self._count(error)
            log.warning("GPU %d cannot be opened: %s", index, error)
            return None
        return text_of(uuid), index, handle

    def _shape(self, uuid: str, index: int, handle: Any) -> tuple[GpuShape, Links]:
        """A GPU that is lost at start keeps what little could be read."""

        def ask(name: str, call: Callable[[], T], absent: T) -> T:
            try:
                return self._ask(uuid, name, call, absent)
            except _Broken:
                return absent

        pci = ask("pci", lambda: text_of(pynvml.nvmlDeviceGetPciInfo(handle).busId), "").lower()
        least, most = ask(
            "range", lambda: pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle), [0, 0]
        )
        default = ask("default", lambda: pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle), most)
        shape = GpuShape(
            uuid=uuid,
            index=index,
            product=ask("name", lambda: text_of(pynvml.nvmlDeviceGetName(handle)), ""),
            pcie=pci,
            numa=numa_of(ask("numa", lambda: _affinity(handle), ()), pci, self._pci_root),
            nvlink_peers=(),
            min_w=-(-least // MILLI),
            max_w=most // MILLI,
            default_w=default // MILLI,
            mig=bool(ask("mig", lambda: pynvml.nvmlDeviceGetMigMode(handle)[0], 0)),
        )
        return shape, links_of(handle)

    def _sample(self, uuid: str) -> GpuSample:
        try:
            sample = self._read(uuid, self._handles[uuid])
        except _Broken as broken:
            sample = replace(
                self._last.get(uuid, GpuSample(uuid)), health=broken.health, draw_w=0.0, processes=()
            )
        self._last[uuid] = sample
        return sample

    def _read(self, uuid: str, handle: Any) -> GpuSample:
        def ask(name: str, call: Callable[[], T], absent: T) -> T:
            return self._ask(uuid, name, call, absent)

        memory = ask("memory", lambda: pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2), None)
        if memory is None:
            raise _Broken("Unreadable")
        return GpuSample(
            uuid=uuid,
            health="Healthy",
            total_bytes=memory.total,
            reserved_bytes=memory.reserved,
            used_bytes=memory.used,
            free_bytes=memory.free,
            draw_w=ask("draw", lambda: pynvml.nvmlDeviceGetPowerUsage(handle), 0) / MILLI,
            limit_w=ask("limit", lambda: pynvml.nvmlDeviceGetPowerManagementLimit(handle), 0) / MILLI,
            enforced_w=ask("enforced", lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle), 0) / MILLI,
            sm_mhz=ask("clock", lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM), 0),
            energy_j=ask("energy", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle), 0) / MILLI,
            throttle=ask("throttle", lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle), 0),
            processes=ask("processes", lambda: _processes(handle), None),
        )

    def _ask(self, uuid: str, name: str, call: Callable[[], T], absent: T) -> T:
        """The answer; `absent` where this GPU has no such reading. Raises _Broken where it should have."""
        if (uuid, name) in self._absent:
            return absent
        try:
            return call()
        except pynvml.NVMLError as error:
            if error.value in _ABSENT:
                self._absent.add((uuid, name))
                return absent
            self._count(error)
            self._reopen = self._reopen or error.value in _RELOADED
            raise _Broken("Lost" if error.value in _LOST else "Unreadable") from error

    def _count(self, error: pynvml.NVMLError) -> None:
        self.errors[type(error).__name__.removeprefix("NVMLError_")] += 1


def _affinity(handle: Any) -> tuple[int, ...]:
    return tuple(pynvml.nvmlDeviceGetMemoryAffinity(handle, 16, pynvml.NVML_AFFINITY_SCOPE_NODE))


def _processes(handle: Any) -> tuple[GpuProcess, ...]:
    running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return tuple(GpuProcess(int(process.pid), process.usedGpuMemory) for process in running)
