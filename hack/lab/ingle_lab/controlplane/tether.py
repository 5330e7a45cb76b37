"""Run a command that the kernel kills when the thread that started this dies: `tether.py PARENT_PID COMMAND...`.

Run as a file with `python -I -S`, so it imports nothing of ours. A parent that was killed with -9 cannot stop its
children; the kernel can.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent = int(sys.argv[1])
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the request above
        os.kill(os.getpid(), signal.SIGKILL)
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
