"""The node's NUMA zones, from a folder shaped like /sys/devices/system/node."""

from __future__ import annotations

import re
from pathlib import Path

from ingle_kit.objects import NumaZone, ZoneMemory

KIB_PER_MIB = 1024
_LINE = re.compile(r"^Node \d+ (\S+?):\s+(\d+) kB$", re.MULTILINE)


def zones(root: Path) -> list[NumaZone]:
    """Zones by number. Free = not used, or only as page cache of files that nobody used lately.

    A zone whose files cannot be read is left out.
    """
    found = []
    for folder in root.glob("node[0-9]*"):
        number = folder.name.removeprefix("node")
        try:
            cpus = (folder / "cpulist").read_text().strip()
            kib = {name: int(value) for name, value in _LINE.findall((folder / "meminfo").read_text())}
        except OSError:
            continue
        if number.isdigit() and "MemTotal" in kib:
            free = kib.get("MemFree", 0) + kib.get("Inactive(file)", 0)
            memory = ZoneMemory(total=kib["MemTotal"] // KIB_PER_MIB, free=free // KIB_PER_MIB)
            found.append(NumaZone(zone=int(number), cpus=cpus, memory_mib=memory))
    return sorted(found, key=lambda zone: zone.zone)
