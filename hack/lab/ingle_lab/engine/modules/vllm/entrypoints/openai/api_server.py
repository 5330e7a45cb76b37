"""`python3 -m vllm.entrypoints.openai.api_server`: the stand-in under the name that its image has for it."""

import sys

import ingle_lab.engine.imports  # noqa: F401 - takes its time
from ingle_lab.engine.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], imported=True))
