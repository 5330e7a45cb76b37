"""Making a node's GPU state, looking at it, and breaking it on purpose."""

import ctypes as c
import os
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from ingle_lab.gpu import layout
from ingle_lab.gpu.native import MappedState
from ingle_lab.gpu.profile import GpuKind, GpuPlace, Instance, Profile, load_profile

ERRORS = {
    "NotSupported": 3,
    "NoPermission": 4,
    "Timeout": 10,
    "GpuIsLost": 15,
    "ResetRequired": 16,
    "Unknown": 999,
}
"""Errors that `inject` knows, with NVML's codes; NoPermission hits setters only, the others every call."""

_NAMESPACE = uuid.UUID("6f1c8a52-5d0e-4e0b-9a57-3f1f2b0c7d11")


@dataclass(frozen=True)
class GpuReading:
    """One GPU at one moment. `draw_w` is now, `average_w` over the last second; errors are NVML codes, 0 none."""

    uuid: str
    product: str
    zone: int
    used_bytes: int
    total_bytes: int
    draw_w: float
    average_w: float
    limit_w: float
    enforced_w: float
    energy_j: float
    read_error: int
    write_error: int


def gpu_uuid(node: str, index: int) -> str:
    """The UUID of a node's GPU: the same each time, different for each node."""
    return f"GPU-{uuid.uuid5(_NAMESPACE, f'{node}/{index}')}"


def create_state(path: str | Path, profile: str | Path | Profile, node: str | None = None) -> list[str]:
    """Writes a fresh state file and returns the UUIDs of GPUs and, after them, of MIG instances.

    `node` names the node, by default the folder the file is in (`.lab/nodes/NAME/gpus.state`). Replaces a file that is
    there, as a driver that is loaded again does: who has it mapped keeps the old one. Raises ProfileError.
    """
    path = Path(path)
    shape = profile if isinstance(profile, Profile) else load_profile(profile)
    node = node if node is not None else path.resolve().parent.name
    state = layout.State(
        magic=layout.MAGIC,
        version=layout.VERSION,
        gpu_count=len(shape.gpus) + len(shape.instances),
        zone_count=len(shape.zones),
        slot_count=layout.MAX_SLOTS,
        size_bytes=c.sizeof(layout.State),
        created_ns=time.monotonic_ns(),
        driver_version=shape.driver_version.encode(),
        node=node.encode(),
    )
    for zone in shape.zones:
        cells = state.zones[zone.zone]
        cells.memory_bytes = zone.memory_bytes
        for cpu in zone.cpus:
            cells.cpus[cpu // 64] |= 1 << cpu % 64
    for index in range(len(shape.gpus)):
        _fill_gpu(state.gpus[index], shape, node, index)
    for at, part in enumerate(shape.instances):
        _fill_instance(state.gpus[len(shape.gpus) + at], shape, part, instance_uuid(node, at))
    _write(path, bytes(state))
    return [state.gpus[index].uuid.decode() for index in range(state.gpu_count)]


def instance_uuid(node: str, number: int) -> str:
    """The UUID of a node's MIG instance, counted over all its GPUs."""
    return f"MIG-{uuid.uuid5(_NAMESPACE, f'{node}/mig/{number}')}"


def _fill_instance(gpu: layout.Gpu, shape: Profile, part: Instance, name: str) -> None:
    """Watts, clocks and links are those of the GPU that it is part of, and only there."""
    gpu.uuid = name.encode()
    gpu.name = f"{shape.kind.product} MIG {part.size}".encode()
    gpu.parent = part.gpu + 1
    gpu.zone = shape.gpus[part.gpu].zone
    gpu.pci = layout.PciAddress(*shape.gpus[part.gpu].pci, shape.kind.pci_device_id, 0)
    gpu.memory_total_bytes = part.memory_bytes
    for link in gpu.links:
        link.type = layout.LINK_NONE


def _fill_gpu(gpu: layout.Gpu, shape: Profile, node: str, index: int) -> None:
    place = shape.gpus[index]
    gpu.uuid = gpu_uuid(node, index).encode()
    gpu.serial = f"{uuid.UUID(gpu_uuid(node, index)[4:]).int % 10**13:013d}".encode()
    gpu.zone = place.zone
    gpu.pci = layout.PciAddress(*place.pci, shape.kind.pci_device_id, 0)
    for other, level in enumerate(shape.ancestors[index]):
        gpu.ancestor[other] = level
    _fill_kind(gpu, shape.kind)
    _fill_links(gpu, place, shape.switched)


def _fill_kind(gpu: layout.Gpu, kind: GpuKind) -> None:
    gpu.name = kind.product.encode()
    gpu.memory_total_bytes = kind.memory_total_bytes
    gpu.memory_reserved_bytes = kind.memory_reserved_bytes
    gpu.idle_mw, gpu.min_mw, gpu.max_mw, gpu.default_mw = (
        watts * 1000 for watts in (kind.idle_w, kind.min_w, kind.max_w, kind.default_w)
    )
    gpu.limit_mw = gpu.default_mw
    gpu.persistence = 1
    gpu.sm_max_mhz, gpu.sm_idle_mhz = kind.sm_clocks_mhz[0], kind.sm_clocks_mhz[-1]
    gpu.memory_mhz = kind.memory_mhz
    gpu.clock_count = len(kind.sm_clocks_mhz)
    for at, mhz in enumerate(kind.sm_clocks_mhz):
        gpu.sm_clocks_mhz[at] = mhz


def _fill_links(gpu: layout.Gpu, place: GpuPlace, switched: bool) -> None:
    for link in gpu.links:
        link.type = layout.LINK_NONE
    for at, remote in enumerate(place.links):
        gpu.links[at].type = layout.LINK_SWITCH if switched else layout.LINK_GPU
        gpu.links[at].remote = layout.PciAddress(*remote, 0, 0)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(aside, 0o660)
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def inject(
    path: str | Path,
    gpu_index: int,
    error: str | None = None,
    enforced_w: float | None = None,
    clear: bool = False,
) -> None:
    """Breaks a GPU: an NVML error (a key of ERRORS), or an out-of-band limit below the one asked for.

    `clear` takes away what was injected before. Raises StateError, ValueError for an unknown GPU, error or limit.
    """
    if error is not None and error not in ERRORS:
        raise ValueError(f"unknown error {error!r}; there are {', '.join(ERRORS)}")
    if enforced_w is not None and not 0 < enforced_w < 1e6:
        raise ValueError(f"an enforced limit of {enforced_w} W is not possible")
    with MappedState(path) as state:
        cells = state.cells
        if not 0 <= gpu_index < cells.gpu_count:
            raise ValueError(f"{path} has no GPU {gpu_index}; it has 0 to {cells.gpu_count - 1}")
        gpu = cells.gpus[gpu_index]
        if clear:
            gpu.read_error = gpu.write_error = gpu.out_of_band_mw = 0
        if error == "NoPermission":
            gpu.write_error = ERRORS[error]
        elif error is not None:
            gpu.read_error = ERRORS[error]
        if enforced_w is not None:
            gpu.out_of_band_mw = round(enforced_w * 1000)
        state.read(gpu_index)


def read_total_used(path: str | Path) -> dict[str, int]:
    """Bytes that living processes hold, by GPU UUID, without the driver's reserve and without NVML."""
    with MappedState(path) as state:
        return {uuid: state.used_bytes(index) for index, uuid in enumerate(state.uuids())}


def read_gpus(path: str | Path) -> list[GpuReading]:
    """All GPUs of a state file at this moment. Raises StateError."""
    with MappedState(path) as state:
        return [_reading(state, index) for index in range(state.cells.gpu_count)]


def _reading(state: MappedState, index: int) -> GpuReading:
    gpu, now = state.cells.gpus[index], state.read(index)
    return GpuReading(
        uuid=gpu.uuid.decode(),
        product=gpu.name.decode(),
        zone=gpu.zone,
        used_bytes=state.used_bytes(index),
        total_bytes=gpu.memory_total_bytes,
        draw_w=now.draw_mw / 1000,
        average_w=now.average_mw / 1000,
        limit_w=gpu.limit_mw / 1000,
        enforced_w=now.enforced_mw / 1000,
        energy_j=now.energy_mj / 1000,
        read_error=gpu.read_error,
        write_error=gpu.write_error,
    )
