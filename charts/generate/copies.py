"""crds/ and charts/manifests/ as the chart carries them: Helm reads nothing outside of the chart's folder.

Copies and no links: Flux leaves links out of what it fetches.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEEP = """  annotations:
    helm.sh/resource-policy: keep
    argocd.argoproj.io/sync-options: Prune=false,Delete=false
"""
PART_OF = "  labels: {app.kubernetes.io/part-of: ingle}\n"
_NAME = "metadata:\n  name:"


def copies() -> Iterator[tuple[str, str]]:
    """Path inside the chart and text. The namespace is left out: Helm makes it."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        yield f"files/crds/{path.name}", kept(path.read_text())
    for path in sorted((ROOT / "charts" / "manifests").glob("*.yaml")):
        if path.name != "namespace.yaml":
            yield f"files/manifests/{path.name}", path.read_text()


def kept(definition: str) -> str:
    """A CustomResourceDefinition that an uninstall leaves. Raises ValueError where it is not written as expected."""
    if definition.count(_NAME) != 1:
        raise ValueError(f"not one CustomResourceDefinition: {definition[:80]!r}")
    return definition.replace(_NAME, f"metadata:\n{KEEP}{PART_OF}  name:")
