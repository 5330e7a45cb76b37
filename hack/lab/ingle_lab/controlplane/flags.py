"""Command lines of the processes, and the audit policy. Pure: settings and paths in, words out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingle_lab.controlplane.pki import Pair
from ingle_lab.controlplane.settings import ADDRESS, Ports, Settings

AUDIENCE: Final = "https://kubernetes.default.svc"
"""Issuer and only audience of the API server. Tokens for other audiences are good for TokenReview only."""

AUDIT_POLICY: Final = json.dumps(
    {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
            {"level": "None"},
        ],
    },
    indent=1,
)


@dataclass(frozen=True)
class Files:
    """Everything that the command lines point to."""

    binaries: Path
    lab: Path
    ca: Pair
    etcd: Pair
    server: Pair
    service_account: Pair

    @property
    def data(self) -> Path:
        return self.lab / "etcd"

    @property
    def audit_log(self) -> Path:
        return self.lab / "audit.log"

    @property
    def audit_policy(self) -> Path:
        return self.lab / "audit-policy.json"

    def identity(self, name: str) -> Path:
        """Kubeconfig of a part of the control plane."""
        return self.lab / "pki" / f"{name}.kubeconfig"


def etcd(files: Files, ports: Ports) -> list[str]:
    """One etcd, TLS both ways. It does not wait for the disk: the data of a lab may go with the machine."""
    client, peer = f"https://{ADDRESS}:{ports.etcd}", f"https://{ADDRESS}:{ports.etcd_peer}"
    flags = {
        "name": "lab",
        "data-dir": files.data,
        "unsafe-no-fsync": "true",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"lab={peer}",
        "cert-file": files.etcd.cert,
        "key-file": files.etcd.key,
        "trusted-ca-file": files.ca.cert,
        "client-cert-auth": "true",
        "peer-cert-file": files.etcd.cert,
        "peer-key-file": files.etcd.key,
        "peer-trusted-ca-file": files.ca.cert,
        "peer-client-cert-auth": "true",
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "10m",
        "log-level": "warn",
    }
    return _command(files.binaries / "etcd", flags)


def apiserver(files: Files, ports: Ports, settings: Settings) -> list[str]:
    """kube-apiserver with RBAC, node authorisation and the audit log of writes."""
    flags = {
        "bind-address": ADDRESS,
        "secure-port": ports.apiserver,
        "advertise-address": "192.0.2.1",  # loopback is refused here; nobody uses this one
        "endpoint-reconciler-type": "none",
        "service-cluster-ip-range": settings.service_range,
        "etcd-servers": f"https://{ADDRESS}:{ports.etcd}",
        "etcd-cafile": files.ca.cert,
        "etcd-certfile": files.etcd.cert,
        "etcd-keyfile": files.etcd.key,
        "tls-cert-file": files.server.cert,
        "tls-private-key-file": files.server.key,
        "client-ca-file": files.ca.cert,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "service-account-issuer": AUDIENCE,
        "service-account-key-file": files.service_account.cert,
        "service-account-signing-key-file": files.service_account.key,
        "audit-policy-file": files.audit_policy,
        "audit-log-path": files.audit_log,
        "audit-log-format": "json",
        "audit-log-mode": "blocking",  # a line is there when the answer is: checks may count at once
        "audit-log-maxsize": settings.audit_max_mib,
        "audit-log-maxbackup": 2,
        "default-not-ready-toleration-seconds": settings.pod_eviction_s,
        "default-unreachable-toleration-seconds": settings.pod_eviction_s,
        "profiling": "false",
        **settings.apiserver_flags,
    }
    return _command(files.binaries / "kube-apiserver", flags)


def controller_manager(files: Files, ports: Ports, settings: Settings) -> list[str]:
    """kube-controller-manager, one of it, so without leader election."""
    flags = {
        **_beside_apiserver(files, "controller-manager", ports.controller_manager),
        "use-service-account-credentials": "true",
        "kube-api-qps": 500,  # the default, 20, spreads the start of the controllers over six seconds
        "kube-api-burst": 1000,
        "service-account-private-key-file": files.service_account.key,
        "root-ca-file": files.ca.cert,
        "cluster-signing-cert-file": files.ca.cert,
        "cluster-signing-key-file": files.ca.key,
        "node-monitor-period": f"{settings.node_monitor_period_s}s",
        "node-monitor-grace-period": f"{settings.node_monitor_grace_s}s",
        "node-eviction-rate": settings.node_eviction_rate,
    }
    return _command(files.binaries / "kube-controller-manager", flags)


def scheduler(files: Files, ports: Ports) -> list[str]:
    """kube-scheduler for pods that name no scheduler."""
    flags = _beside_apiserver(files, "scheduler", ports.scheduler)
    return _command(files.binaries / "kube-scheduler", flags)


def _beside_apiserver(files: Files, name: str, port: int) -> dict[str, object]:
    identity = files.identity(name)
    return {
        "kubeconfig": identity,
        "authentication-kubeconfig": identity,
        "authentication-skip-lookup": "true",  # there is no front proxy whose CA it could look up
        "authorization-kubeconfig": identity,
        "client-ca-file": files.ca.cert,
        "bind-address": ADDRESS,
        "secure-port": port,
        "tls-cert-file": files.server.cert,
        "tls-private-key-file": files.server.key,
        "leader-elect": "false",
        "profiling": "false",
    }


def _command(binary: Path, flags: dict[str, object]) -> list[str]:
    return [str(binary), *(f"--{name}={value}" for name, value in flags.items())]
