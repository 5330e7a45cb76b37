"""`python -m ingle_lab.images FOLDER`: writes FOLDER/images.tar and prints its path."""

import sys
from pathlib import Path

from ingle_lab.images import build_archive

if len(sys.argv) != 2:
    sys.exit("usage: python -m ingle_lab.images FOLDER")
print(build_archive(Path(sys.argv[1])))
