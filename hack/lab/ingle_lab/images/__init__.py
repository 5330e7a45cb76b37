"""Container images without a registry: an OCI archive from the project's locked dependencies and this machine's Python."""

from ingle_lab.images.build import build_archive

__all__ = ["build_archive"]
