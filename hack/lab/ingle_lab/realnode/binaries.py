"""Build the node's programs from the pinned Go modules in hack/node, each module once, into the cache."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ingle_lab.controlplane import golang
from ingle_lab.controlplane.binaries import cache_dir, linker_flags, one_build_at_a_time
from ingle_lab.controlplane.compiling import compile_into
from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.preflight import GIB_BYTES, check_disk
from ingle_lab.controlplane.progress import Progress
from ingle_lab.realnode.debian import seccomp_variables

MODULES_DIR = Path(__file__).resolve().parents[3] / "node"
NEED_BYTES = 3 * GIB_BYTES
_CONTAINERD = "github.com/containerd/containerd/v2"
_PLUGINS = "github.com/containernetworking/plugins/plugins"
_NVIDIA = "github.com/NVIDIA/nvidia-container-toolkit"


@dataclass(frozen=True)
class Module:
    """One Go module: what it is pinned by, its programs, and how they are built."""

    name: str
    pin: str
    packages: Mapping[str, str]
    tags: str = ""
    version_variable: str = ""
    cgo: bool = False
    seccomp: bool = False


MODULES = (
    Module(
        "kubernetes",
        "k8s.io/kubernetes",
        {"kubelet": "k8s.io/kubernetes/cmd/kubelet", "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy"},
    ),
    Module(
        "containerd",
        _CONTAINERD,
        {name: f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        tags="no_btrfs,no_zfs,no_devmapper,no_aufs",
        version_variable=f"{_CONTAINERD}/version.Version",
    ),
    Module(
        "runc",
        "github.com/opencontainers/runc",
        {"runc": "github.com/opencontainers/runc"},
        tags="seccomp,netgo,osusergo",
        version_variable="main.version",
        seccomp=True,
    ),
    Module(
        "plugins",
        "github.com/containernetworking/plugins",
        {
            "bridge": f"{_PLUGINS}/main/bridge",
            "loopback": f"{_PLUGINS}/main/loopback",
            "host-local": f"{_PLUGINS}/ipam/host-local",
            "pause": "./pause",
        },
    ),
    Module("policies", "sigs.k8s.io/kube-network-policies", {"kube-network-policies": "."}),
    Module(
        "nvidia",
        _NVIDIA,
        {"nvidia-container-runtime": f"{_NVIDIA}/cmd/nvidia-container-runtime"},
        version_variable=f"{_NVIDIA}/internal/info.version",
        cgo=True,
    ),
)


@dataclass(frozen=True)
class Plan:
    """What would be built of one module, by what, and where it goes."""

    module: Module
    go: golang.Go
    version: str
    folder: Path

    @property
    def built(self) -> bool:
        return all((self.folder / name).exists() for name in self.module.packages)


def flags_of(module: Module, version: str) -> str:
    """Linker flags that make the programs say their version."""
    if module.name == "kubernetes":
        return linker_flags(version)
    static = " -linkmode external -extldflags -static" if module.seccomp else ""
    stamped = f" -X {module.version_variable}={version}" if module.version_variable else ""
    return f"-s -w{static}{stamped}"


def plan(module: Module, cache: Path) -> Plan:
    """Work out the folder from the module's files, the flags and the Go version; builds nothing."""
    folder = MODULES_DIR / module.name
    go_mod = (folder / "go.mod").read_text()
    go = golang.find_go(golang.required_version(go_mod), cache)
    version = re.search(rf"^\s*(?:require )?{re.escape(module.pin)} (v\S+)", go_mod, re.MULTILINE)
    if not version:
        raise ControlPlaneError(f"hack/node/{module.name}/go.mod names no {module.pin}; restore it from git.")
    words = (go.version, flags_of(module, version[1]), module.tags, *module.packages)
    digest = hashlib.sha256("\n".join(words).encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.read_bytes())
    return Plan(module, go, version[1], cache / "node" / f"{module.name}-{digest.hexdigest()[:16]}" / "bin")


def programs(cache: Path | None = None) -> dict[str, Path]:
    """Every program by its name. Raises ControlPlaneError when one is not built yet."""
    found: dict[str, Path] = {}
    for module in MODULES:
        wanted = plan(module, cache or cache_dir())
        if not wanted.built:
            raise ControlPlaneError(
                f"{module.name} of the real node is not built yet (looked in {wanted.folder}). "
                "Run `python -m ingle_lab.realnode build`; it takes some minutes, once."
            )
        found |= {name: wanted.folder / name for name in module.packages}
    return found


def build(cache: Path | None = None, *, progress: Progress | None = None) -> dict[str, Path]:
    """Build what is missing and give every program's path. Stopped half-way, it goes on with the next module."""
    progress, cache = progress or Progress(), cache or cache_dir()
    missing = [module for module in MODULES if not plan(module, cache).built]
    if missing:
        check_disk(cache, NEED_BYTES, "building the real node", change="INGLE_CACHE_DIR")
        with one_build_at_a_time(cache / "node", progress):
            for module in missing:
                _build(plan(module, cache), cache, progress)
    return programs(cache)


def _build(wanted: Plan, cache: Path, progress: Progress) -> None:
    if wanted.built:
        return
    golang.install(wanted.go)
    module = wanted.module
    progress.say(f"building {module.name} {wanted.version} with Go {wanted.go.version}")
    extra = {"GOFLAGS": f"-mod=readonly -buildvcs=false -tags={module.tags}"} if module.tags else {}
    if module.seccomp:
        extra |= seccomp_variables(cache)
    if module.cgo:
        extra |= {"CGO_ENABLED": "1", "CGO_CFLAGS": "-Wno-deprecated-declarations"}
    flags = flags_of(module, wanted.version)
    compile_into(
        wanted.folder.parent, wanted.go, MODULES_DIR / module.name, module.packages, flags, progress, extra
    )
