"""Helm, built from the pinned Go module in hack/helm."""

from ingle_lab.helm.binary import build, built_folder

__all__ = ["build", "built_folder"]
