"""NUMA zone and NVLink peers of GPUs, from NVML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

WORD_BITS = 64


@dataclass(frozen=True, slots=True)
class Links:
    """Where a GPU's active NVLinks lead: PCI addresses of GPUs, and whether any goes to a switch."""

    gpus: frozenset[str] = frozenset()
    switch: bool = False


def text_of(value: Any) -> str:
    """NVML's texts come as bytes or str, by function and version of its module."""
    return value.decode() if isinstance(value, bytes) else str(value)


def numa_of(mask: Sequence[int], pcie: str, pci_root: Path) -> int | None:
    """The lowest zone in NVML's mask of 64-bit words, else the kernel's word for the PCI device, else None."""
    for at, word in enumerate(mask):
        if word:
            return at * WORD_BITS + (word & -word).bit_length() - 1
    domain, _, rest = pcie.partition(":")
    try:
        zone = int((pci_root / f"{domain[-4:]}:{rest}" / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return zone if zone >= 0 else None


def links_of(handle: Any) -> Links:
    """Asks link by link until the GPU has no more; a link that fails otherwise counts as down."""
    gpus, switch = set(), False
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            if not pynvml.nvmlDeviceGetNvLinkState(handle, link):
                continue
            kind = pynvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, link)
            if kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
                switch = True
            elif kind == pynvml.NVML_NVLINK_DEVICE_TYPE_GPU:
                address = pynvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link).busId
                gpus.add(text_of(address).lower())
        except pynvml.NVMLError as error:
            if error.value in (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_INVALID_ARGUMENT):
                break
    return Links(frozenset(gpus), switch)


def peers(pcie: Mapping[str, str], links: Mapping[str, Links]) -> dict[str, tuple[str, ...]]:
    """UUID -> UUIDs it reaches by NVLink: directly, or both by a switch (one fabric a node)."""
    return {
        uuid: tuple(
            other
            for other, address in pcie.items()
            if other != uuid and (address in mine.gpus or (mine.switch and links[other].switch))
        )
        for uuid, mine in links.items()
    }
