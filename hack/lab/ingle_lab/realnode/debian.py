"""What the node needs of Debian's packages, unpacked into the cache, not installed."""

from __future__ import annotations

import shutil
from pathlib import Path

from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.debian import unpacked

_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_NFT = ("nftables", "libnftables1", "libnftnl11", "libmnl0", "libxtables12", "libedit2", "libbsd0", "libmd0")
_NFT_LIBRARIES = ("libjansson4", "libgmp10", "libtinfo6")


def seccomp_variables(cache: Path) -> dict[str, str]:
    """Variables with which cgo finds libseccomp's header and static library."""
    if shutil.which("cc") is None:
        raise ControlPlaneError("runc needs a C compiler: put `cc` on PATH (Debian: gcc and libc6-dev).")
    root = unpacked(cache, "libseccomp", ("libseccomp-dev", "libseccomp2"))
    answer = root / "pkg-config"
    cflags, libs = f"-I{root}/usr/include", f"-L{root}/{_LIBRARIES} -lseccomp"
    answer.write_text(
        f'#!/bin/sh\ncase "$*" in *--cflags*) echo "{cflags}";; *--libs*) echo "{libs}";; esac\n'
    )
    answer.chmod(0o755)
    return {"CGO_ENABLED": "1", "PKG_CONFIG": str(answer)}


def nft(cache: Path) -> Path:
    """Folder with the program `nft`, which kube-proxy calls: the machine's own, else Debian's unpacked."""
    if found := shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin"):
        return Path(found).parent
    root = unpacked(cache, "nftables", (*_NFT, *_NFT_LIBRARIES))
    folder = root / "programs"
    folder.mkdir(exist_ok=True)
    program = folder / "nft"
    libraries = f"{root}/{_LIBRARIES}:{root}/lib/x86_64-linux-gnu"
    program.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {root}/usr/sbin/nft "$@"\n')
    program.chmod(0o755)
    return folder
