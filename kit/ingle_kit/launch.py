"""`ingle-launch`: puts a process on the NUMA zone of its GPUs, then becomes the engine.

    ingle-launch --install FILE           copies this file there (init container of our image)
    python3 FILE [options] -- COMMAND...  in the engine's image, whose Python needs nothing installed

One file, standard library only, since it runs inside images that are not ours. Nothing it cannot do keeps the engine
from starting: it says so on standard error and goes on.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import re
import shutil
import sys
from pathlib import Path

GPUS_VARIABLE = "INGLE_GPUS"
ROOT_VARIABLE = "INGLE_NUMA_ROOT"  # as the agent reads it
NODE_ROOT = "/sys/devices/system/node"
NVML = "libnvidia-ml.so.1"
MASK_WORDS = 16
WORD_BITS = 64
SCOPE_NODE = 0
MPOL_PREFERRED = 1
SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237}
_UUID = re.compile(r"^GPU UUID:\s*(\S+)", re.MULTILINE)


def say(text: str) -> None:
    print(f"ingle-launch: {text}", file=sys.stderr, flush=True)


def cpus_in(cpulist: str) -> set[int]:
    """`0-3,8` as numbers. Raises ValueError for anything else."""
    cpus: set[int] = set()
    for part in cpulist.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cpus |= set(range(int(first), int(last or first) + 1))
    return cpus


def lowest_zone(words: list[int]) -> int | None:
    """The lowest bit set in a mask of 64-bit words."""
    for at, word in enumerate(words):
        if word:
            return at * WORD_BITS + (word & -word).bit_length() - 1
    return None


def zones_by_driver(uuids: list[str], library: str = NVML) -> dict[str, int]:
    """UUID -> zone, as NVML says; GPUs that it cannot tell of are left out. Raises OSError without the library."""
    nvml = ctypes.CDLL(library)
    if nvml.nvmlInit_v2():
        return {}
    zones: dict[str, int] = {}
    for uuid in uuids:
        handle, mask = ctypes.c_void_p(), (ctypes.c_ulong * MASK_WORDS)()
        if nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)):
            continue
        if nvml.nvmlDeviceGetMemoryAffinity(handle, MASK_WORDS, mask, SCOPE_NODE):
            continue
        zone = lowest_zone(list(mask))
        if zone is not None:
            zones[uuid] = zone
    nvml.nvmlShutdown()
    return zones


def zones_by_kernel(uuids: list[str], gpus_root: Path, pci_root: Path) -> dict[str, int]:
    """UUID -> zone, from ADDRESS/information of the driver and ADDRESS/numa_node of the kernel."""
    zones: dict[str, int] = {}
    for information in sorted(gpus_root.glob("*/information")):
        try:
            found = _UUID.search(information.read_text())
            zone = int((pci_root / information.parent.name / "numa_node").read_text())
        except (OSError, ValueError):
            continue
        if found is not None and found.group(1) in uuids and zone >= 0:
            zones[found.group(1)] = zone
    return zones


def zones_of(uuids: list[str], options: argparse.Namespace) -> set[int]:
    """The zones of all GPUs; empty, with the reason said, where one of them is not known."""
    try:
        known = zones_by_driver(uuids, options.nvml)
    except (OSError, AttributeError) as error:
        say(f"no NVML ({error}); asking the kernel")
        known = {}
    if len(known) < len(uuids):
        known = {**zones_by_kernel(uuids, options.gpus_root, options.pci_root), **known}
    dark = [uuid for uuid in uuids if uuid not in known]
    if dark or not uuids:
        say(f"zone of {', '.join(dark)} is not known" if dark else f"{GPUS_VARIABLE} names no GPU")
        return set()
    return set(known.values())


def stay_on(zones: set[int], node_root: Path) -> bool:
    """Lets this process run on the zones' CPUs only. False, with the reason said, where that cannot be."""
    try:
        wanted = {
            cpu for zone in zones for cpu in cpus_in((node_root / f"node{zone}" / "cpulist").read_text())
        }
    except (OSError, ValueError) as error:
        say(f"CPUs of {named(zones)} are not known: {error}")
        return False
    allowed = os.sched_getaffinity(0)
    if not wanted & allowed:
        say(
            f"{named(zones)} has none of the CPUs {sorted(allowed)} that this container may use; leaving them"
        )
        return False
    try:
        os.sched_setaffinity(0, wanted & allowed)
    except OSError as error:
        say(f"CPUs of {named(zones)} cannot be chosen: {error}")
        return False
    return True


def named(zones: set[int]) -> str:
    return f"zone {', '.join(map(str, sorted(zones)))}"


def prefer_memory_of(zone: int) -> bool:
    """Takes memory from the zone first. Containers often may not ask for that; then first use decides."""
    number = SET_MEMPOLICY.get(platform.machine())
    if number is None or zone >= MASK_WORDS * WORD_BITS:
        say(f"memory of zone {zone} cannot be preferred on {platform.machine()}")
        return False
    mask = (ctypes.c_ulong * MASK_WORDS)()
    mask[zone // WORD_BITS] = 1 << (zone % WORD_BITS)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, MPOL_PREFERRED, mask, MASK_WORDS * WORD_BITS + 1) != 0:
        say(f"memory of zone {zone} cannot be preferred: {os.strerror(ctypes.get_errno())}")
        return False
    return True


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ingle-launch", description="Runs COMMAND on the NUMA zone of its GPUs."
    )
    parser.add_argument("--install", type=Path, metavar="FILE", help="copy this file to FILE and end")
    parser.add_argument("--node-root", type=Path, default=Path(os.environ.get(ROOT_VARIABLE, NODE_ROOT)))
    parser.add_argument("--pci-root", type=Path, default=Path("/sys/bus/pci/devices"))
    parser.add_argument("--gpus-root", type=Path, default=Path("/proc/driver/nvidia/gpus"))
    parser.add_argument("--nvml", default=NVML, help="path or name of the NVML library")
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Does not return where the command starts; 2 for wrong arguments, 127 where the command is not found."""
    options = arguments(sys.argv[1:] if words is None else words)
    if options.install is not None:
        shutil.copyfile(__file__, options.install)
        return 0
    if not options.command:
        say("no command: ingle-launch [options] -- COMMAND...")
        return 2
    uuids = [uuid for uuid in os.environ.get(GPUS_VARIABLE, "").split(",") if uuid]
    zones = zones_of(uuids, options)
    if zones and stay_on(zones, options.node_root):
        if len(zones) == 1:  # of several, each worker's first use decides
            prefer_memory_of(min(zones))
        say(f"on {named(zones)}, CPUs {','.join(map(str, sorted(os.sched_getaffinity(0))))}")
    try:
        os.execvp(options.command[0], options.command)
    except OSError as error:
        say(f"{options.command[0]}: {error.strerror}")
        return 127


if __name__ == "__main__":
    sys.exit(main())
