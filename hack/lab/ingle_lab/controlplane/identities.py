"""Keys, certificates and kubeconfigs in a lab folder."""

from __future__ import annotations

import re
from pathlib import Path

from ingle_lab.controlplane import flags
from ingle_lab.controlplane.errors import ControlPlaneError
from ingle_lab.controlplane.flags import Files
from ingle_lab.controlplane.kubeconfig import write_kubeconfig
from ingle_lab.controlplane.pki import Authority, write_private
from ingle_lab.controlplane.settings import ADDRESS

_SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default.svc", ADDRESS)
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def authority(lab: Path) -> Authority:
    """The CA of a lab folder, made on first use."""
    return Authority(lab / "pki")


def prepare(lab: Path, binaries: Path, server: str) -> Files:
    """Make what the processes read: certificates, kubeconfigs, the audit policy. Keeps what is still good."""
    (lab / "logs").mkdir(parents=True, exist_ok=True)
    ca = authority(lab)
    own = ca.server("server", _SERVER_NAMES)
    files = Files(
        binaries, lab, ca.ca, ca.server("etcd", ("localhost", ADDRESS)), own, ca.signing_key("tokens")
    )
    write_private(files.audit_policy, flags.AUDIT_POLICY.encode())
    for name in ("controller-manager", "scheduler"):
        cert = ca.client(name, f"system:kube-{name}")
        write_kubeconfig(files.identity(name), server, ca.ca_pem, cert=cert)
    admin = ca.client("admin", "admin", ["system:masters"])
    write_kubeconfig(lab / "kubeconfig", server, ca.ca_pem, cert=admin)
    kubectl = lab / "bin" / "kubectl"
    kubectl.parent.mkdir(exist_ok=True)
    kubectl.unlink(missing_ok=True)
    kubectl.symlink_to(binaries / "kubectl")
    return files


def node_kubeconfig(lab: Path, server: str, name: str) -> Path:
    """Write and give `nodes/NAME/kubeconfig`, user `system:node:NAME`, group `system:nodes`."""
    if not _NODE_NAME.fullmatch(name):
        raise ControlPlaneError(
            f"{name!r} is no name for a node: use a-z, 0-9, '-' and '.', 253 characters at most."
        )
    ca = authority(lab)
    cert = ca.client(f"node-{name}", f"system:node:{name}", ["system:nodes"])
    return write_kubeconfig(lab / "nodes" / name / "kubeconfig", server, ca.ca_pem, cert=cert)
