"""`python -m ingle_lab.controlplane build|up|down|status`."""

import sys

from ingle_lab.controlplane.commands import main

sys.exit(main(sys.argv[1:]))
