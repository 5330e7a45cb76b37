"""A node's shape: its GPUs, NUMA zones and links, read from YAML."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ingle_lab.gpu.layout import MAX_CLOCKS, MAX_CPU_WORDS, MAX_GPUS, MAX_LINKS

PROFILES = Path(__file__).parent / "profiles"
MIB = 1 << 20
ANCESTORS = {"SINGLE": 10, "MULTIPLE": 20, "HOSTBRIDGE": 30, "NODE": 40, "SYSTEM": 50}


class ProfileError(ValueError):
    """The profile says something that cannot be; the text names file and field."""


@dataclass(frozen=True)
class Zone:
    """A NUMA zone: its number, its CPUs, its host memory."""

    zone: int
    cpus: tuple[int, ...]
    cpu_list: str
    memory_bytes: int


@dataclass(frozen=True)
class GpuKind:
    """What all GPUs of a node have in common. Watts are whole; clocks in MHz, `sm_clocks_mhz` highest first."""

    product: str
    pci_device_id: int
    memory_total_bytes: int
    memory_reserved_bytes: int
    idle_w: int
    min_w: int
    max_w: int
    default_w: int
    sm_clocks_mhz: tuple[int, ...]
    memory_mhz: int


@dataclass(frozen=True)
class GpuPlace:
    """One GPU: PCI address (domain, bus, device), NUMA zone, and for each NVLink the PCI address at its end."""

    pci: tuple[int, int, int]
    zone: int
    links: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Instance:
    """A MIG instance: the number of the GPU that it is part of, and NVIDIA's name for its size."""

    gpu: int
    size: str
    memory_bytes: int


@dataclass(frozen=True)
class Profile:
    """A node's shape. `ancestors[a][b]` is NVML's topology level, `switched` whether NVLinks end in switches."""

    name: str
    source: str
    driver_version: str
    kind: GpuKind
    gpus: tuple[GpuPlace, ...]
    zones: tuple[Zone, ...]
    ancestors: tuple[tuple[int, ...], ...]
    switched: bool
    instances: tuple[Instance, ...] = ()

    @property
    def cpu_count(self) -> int:
        return sum(len(zone.cpus) for zone in self.zones)

    @property
    def memory_bytes(self) -> int:
        """Host memory of all zones."""
        return sum(zone.memory_bytes for zone in self.zones)


def profile_names() -> list[str]:
    """Names of the profiles that come with the lab."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def load_profile(name: str | Path) -> Profile:
    """A profile by name, or from a path that ends in `.yaml`. Raises ProfileError."""
    path = Path(name) if str(name).endswith(".yaml") else PROFILES / f"{name}.yaml"
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ProfileError(f"no GPU profile {name!r}; there are {', '.join(profile_names())}") from None
    try:
        profile = _parse(path.stem, raw)
    except KeyError as error:
        raise ProfileError(f"{path}: field {error} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ProfileError(f"{path}: {error}") from error
    _check(path, profile)
    return profile


def parse_cpus(text: str) -> tuple[int, ...]:
    """CPU numbers of a Linux list such as "0-15,32-47"."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(cpus))


def parse_pci(text: str) -> tuple[int, int, int]:
    """Domain, bus and device of "0000:1B:00.0"."""
    domain, bus, rest = text.split(":")
    return int(domain, 16), int(bus, 16), int(rest.partition(".")[0], 16)


def _parse(name: str, raw: Mapping[str, Any]) -> Profile:
    addresses = [parse_pci(gpu["pci"]) for gpu in raw["gpus"]]
    places = tuple(
        GpuPlace(pci, int(gpu["zone"]), _links(raw, index, addresses))
        for index, (gpu, pci) in enumerate(zip(raw["gpus"], addresses, strict=True))
    )
    zones = tuple(
        Zone(int(z["zone"]), parse_cpus(z["cpus"]), z["cpus"], int(z["memory_gib"]) << 30)
        for z in raw["zones"]
    )
    switched = "switches" in raw.get("nvlink", {})
    kind = _kind(raw["gpu"])
    instances = tuple(
        Instance(int(part["gpu"]), part["size"], int(part["memory_mib"]) * MIB) for part in raw.get("mig", ())
    )
    near = _ancestors(raw, places)
    return Profile(name, raw["source"], raw["driver_version"], kind, places, zones, near, switched, instances)


def _kind(raw: Mapping[str, Any]) -> GpuKind:
    watts = raw["watts"]
    return GpuKind(
        product=raw["product"],
        pci_device_id=int(raw["pci_device_id"]),
        memory_total_bytes=int(raw["memory_mib"]["total"]) * MIB,
        memory_reserved_bytes=int(raw["memory_mib"]["reserved"]) * MIB,
        idle_w=int(watts["idle"]),
        min_w=int(watts["min"]),
        max_w=int(watts["max"]),
        default_w=int(watts["default"]),
        sm_clocks_mhz=tuple(sorted((int(mhz) for mhz in raw["sm_mhz"]), reverse=True)),
        memory_mhz=int(raw["memory_mhz"]),
    )


def _links(
    raw: Mapping[str, Any], index: int, addresses: list[tuple[int, int, int]]
) -> tuple[tuple[int, int, int], ...]:
    nvlink = raw.get("nvlink", {})
    if "switches" in nvlink:
        switches = [parse_pci(text) for text in nvlink["switches"]]
        return tuple(switches[link % len(switches)] for link in range(int(nvlink["links"])))
    found: list[tuple[int, int, int]] = []
    for first, second in nvlink.get("pairs", []):
        if index in (first, second):
            found += [addresses[second if index == first else first]] * int(nvlink["links"])
    return tuple(found)


def _ancestors(raw: Mapping[str, Any], places: tuple[GpuPlace, ...]) -> tuple[tuple[int, ...], ...]:
    """NODE within a zone and SYSTEM beyond, but for the pairs that the profile names."""
    count = len(places)
    near = {
        frozenset(pair): ANCESTORS[level] for level, pairs in raw.get("closer", {}).items() for pair in pairs
    }

    def level(a: int, b: int) -> int:
        if a == b:
            return 0
        same = places[a].zone == places[b].zone
        return near.get(frozenset((a, b)), ANCESTORS["NODE" if same else "SYSTEM"])

    return tuple(tuple(level(a, b) for b in range(count)) for a in range(count))


def _check(path: Path, profile: Profile) -> None:
    kind = profile.kind
    zones = [zone.zone for zone in profile.zones]
    rules = {
        f"gpus: 1 to {MAX_GPUS}, {len(profile.gpus)} given": 1 <= len(profile.gpus) <= MAX_GPUS,
        f"mig: at most {MAX_GPUS} with the GPUs": len(profile.gpus) + len(profile.instances) <= MAX_GPUS,
        "mig.gpu: names a GPU that is not there": all(i.gpu < len(profile.gpus) for i in profile.instances),
        "mig.memory_mib: more than the GPU has": all(
            0 < sum(i.memory_bytes for i in profile.instances if i.gpu == part.gpu) <= kind.memory_total_bytes
            for part in profile.instances
        ),
        "gpus: two have one PCI address": len({gpu.pci for gpu in profile.gpus}) == len(profile.gpus),
        f"zones: must be numbered 0, 1, … up to {MAX_GPUS - 1}": zones == list(range(len(zones)))
        and len(zones) <= MAX_GPUS,
        "gpus.zone: names a zone that is not in zones": all(gpu.zone in zones for gpu in profile.gpus),
        "zones.cpus: the highest CPU number is 1023": all(
            zone.cpus[-1] < MAX_CPU_WORDS * 64 for zone in profile.zones
        ),
        "gpu.watts: needs 0 < idle <= min <= default <= max": 0
        < kind.idle_w
        <= kind.min_w
        <= kind.default_w
        <= kind.max_w,
        "gpu.memory_mib: reserved must be below total": 0
        <= kind.memory_reserved_bytes
        < kind.memory_total_bytes,
        f"gpu.sm_mhz: 2 to {MAX_CLOCKS} clocks": 2 <= len(kind.sm_clocks_mhz) <= MAX_CLOCKS,
        f"nvlink: at most {MAX_LINKS} links a GPU": all(len(gpu.links) <= MAX_LINKS for gpu in profile.gpus),
    }
    broken = [text for text, holds in rules.items() if not holds]
    if broken:
        raise ProfileError(f"{path}: {'; '.join(broken)}")
