"""Run as `python -m ingle_lab.realnode.enter CGROUP LAB`: into the cgroups, then into namespaces of its own."""

from __future__ import annotations

import os
import sys

from ingle_lab.realnode import cgroups
from ingle_lab.realnode.preflight import UNSHARE

if __name__ == "__main__":
    cgroup, lab = sys.argv[1:]
    cgroups.enter(cgroup)
    first = [sys.executable, "-m", "ingle_lab.realnode.first", lab]
    os.execvp(UNSHARE[0], [*UNSHARE, *first])
