"""`python -m ingle_lab.engine serve MODEL [flags]`."""

import sys

from ingle_lab.engine.main import main

sys.exit(main(sys.argv[1:]))
