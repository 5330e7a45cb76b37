"""Addresses: of a node's pods, and of sockets."""

from __future__ import annotations

import ipaddress

PODS_MAX = 250
SOCKET_PATH_BYTES_MAX = 107


class NoAddress(Exception):
    """Every pod address of the node is in use."""


class AddressPool:
    """Hands out the addresses after the node's, in turn, so that a freed one rests before it is used again."""

    def __init__(self, node_address: str) -> None:
        self._base = ipaddress.IPv4Address(node_address)
        self._used: set[str] = set()
        self._next = 0

    def take(self, wanted: str | None = None) -> str:
        """`wanted` if it is one of ours and free, else the next free one. Raises NoAddress."""
        if wanted and wanted not in self._used and self._owns(wanted):
            self._used.add(wanted)
            return wanted
        for _ in range(PODS_MAX):
            address = str(self._base + 1 + self._next)
            self._next = (self._next + 1) % PODS_MAX
            if address not in self._used:
                self._used.add(address)
                return address
        raise NoAddress(f"all {PODS_MAX} pod addresses after {self._base} are in use")

    def give_back(self, address: str) -> None:
        self._used.discard(address)

    def _owns(self, address: str) -> bool:
        return 1 <= int(ipaddress.IPv4Address(address)) - int(self._base) <= PODS_MAX
