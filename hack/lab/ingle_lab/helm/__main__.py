"""`python -m ingle_lab.helm build`: builds Helm and prints its folder."""

from __future__ import annotations

import sys

from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.helm import build


def main(words: list[str]) -> int:
    """Exit code: 0 built, 1 failed with a message, 2 wrong words."""
    if words != ["build"]:
        print("usage: python -m ingle_lab.helm build", file=sys.stderr)
        return 2
    try:
        print(build())
    except ControlPlaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
