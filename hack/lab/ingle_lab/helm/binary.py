"""Build Helm and a small kstatus once, into the cache, as the control plane is built."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ingle_lab.controlplane import golang
from ingle_lab.controlplane.binaries import cache_dir, one_build_at_a_time
from ingle_lab.controlplane.compiling import compile_into
from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.preflight import GIB_BYTES, check_disk
from ingle_lab.controlplane.progress import Progress

MODULE_DIR = Path(__file__).resolve().parents[3] / "helm"
PACKAGES: Mapping[str, str] = {"helm": "helm.sh/helm/v4/cmd/helm", "kstatus": "./kstatus"}
NEED_BYTES = 3 * GIB_BYTES


@dataclass(frozen=True)
class Plan:
    """What would be built, by what, and where it goes."""

    go: golang.Go
    version: str
    folder: Path

    @property
    def built(self) -> bool:
        return all((self.folder / name).exists() for name in PACKAGES)


def plan(cache: Path | None = None, *, search_path: str | None = None) -> Plan:
    """Work out the place from go.mod, go.sum and the Go version; builds nothing."""
    cache = cache or cache_dir()
    go_mod = (MODULE_DIR / "go.mod").read_text()
    go = golang.find_go(golang.required_version(go_mod), cache, search_path=search_path)
    found = re.search(r"helm\.sh/helm/v4 (v\S+)", go_mod)
    if not found:
        raise ControlPlaneError("hack/helm/go.mod names no helm.sh/helm/v4; restore it from git.")
    digest = hashlib.sha256(f"{go.version}\n{linker_flags(found[1])}\n".encode())
    for name in ("go.mod", "go.sum", "kstatus/main.go"):
        digest.update((MODULE_DIR / name).read_bytes())
    return Plan(go, found[1], cache / "helm" / digest.hexdigest()[:16] / "bin")


def linker_flags(version: str) -> str:
    """Flags that make the binary say the version that go.mod pins."""
    return f"-s -w -X helm.sh/helm/v4/internal/version.version={version}"


def built_folder(cache: Path | None = None) -> Path:
    """Folder with `helm` and `kstatus`. Raises when they are not built yet."""
    found = plan(cache)
    if not found.built:
        raise ControlPlaneError(
            f"Helm is not built yet (looked in {found.folder}). Run `python -m ingle_lab.helm build`; it takes some"
            " minutes, once."
        )
    return found.folder


def build(cache: Path | None = None, *, progress: Progress | None = None) -> Path:
    """Build what is missing and give the folder. Stopped half-way, it leaves nothing that looks built."""
    progress = progress or Progress()
    cache = cache or cache_dir()
    wanted = plan(cache)
    if not wanted.built:
        check_disk(cache, NEED_BYTES, "building Helm", change="INGLE_CACHE_DIR")
        with one_build_at_a_time(cache / "helm", progress):
            if not wanted.built:
                _build(wanted, progress)
    progress.say(f"Helm {wanted.version} is built: {wanted.folder}")
    return wanted.folder


def _build(wanted: Plan, progress: Progress) -> None:
    golang.install(wanted.go)
    progress.say(f"building Helm {wanted.version} with Go {wanted.go.version}: about 3 minutes on 2 cores")
    flags = linker_flags(wanted.version)
    compile_into(wanted.folder.parent, wanted.go, MODULE_DIR, PACKAGES, flags, progress)
