"""Fetches what a pod needs from the API before it starts: ConfigMaps, Secrets, tokens."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime
from typing import Final

from ingle_kit.kube import KubeError, NotFound, Object
from ingle_kit.names import SERVICE_ACCOUNT, Kind
from ingle_lab.node.context import NodeContext
from ingle_lab.node.facts import Place, SourceKey, source_keys
from ingle_lab.node.volumes import ROOT_CA, TokenFile, Volumes, make_volumes, write_whole

CONFIG_MAP: Final = Kind("", "v1", "configmaps", "ConfigMap", True)
SECRET: Final = Kind("", "v1", "secrets", "Secret", True)
TOKEN_LIFE_FRACTION: Final = 0.8
TOKEN_RETRY_S: Final = 10.0

log = logging.getLogger(__name__)

SourceMap = dict[SourceKey, Object | None]


async def fetch_sources(node: NodeContext, pod: Object) -> SourceMap:
    """Every ConfigMap and Secret the pod uses; None for one that does not exist. Raises KubeError.

    The root certificate is the one this node itself trusts: no need to wait for its ConfigMap.
    """
    namespace = pod["metadata"]["namespace"]
    sources: SourceMap = {}
    for kind, name in sorted(source_keys(pod)):
        if (kind, name) == ("ConfigMap", ROOT_CA):
            sources[kind, name] = {"data": {"ca.crt": node.api.ca.decode()}}
            continue
        try:
            sources[kind, name] = await node.kube.get(
                CONFIG_MAP if kind == "ConfigMap" else SECRET, name, namespace
            )
        except NotFound:
            sources[kind, name] = None
    return sources


async def make_ready(node: NodeContext, pod: Object, place: Place, sources: SourceMap) -> Volumes:
    """Makes the volumes and writes every token once. Raises KubeError or facts.NotYet."""
    volumes = make_volumes(
        pod,
        place,
        sources,
        pod_dir=node.pod_folder(pod["metadata"]["uid"]),
        host_dir=node.host_folder,
        claims_dir=node.claims_folder,
    )
    for token in volumes.tokens:
        await write_token(node, pod, token)
    return volumes


async def write_token(node: NodeContext, pod: Object, token: TokenFile) -> float:
    """Asks for a token bound to the pod and writes it; returns its life in seconds. Raises KubeError."""
    metadata = pod["metadata"]
    spec: Object = {
        "audiences": [token.audience] if token.audience else [],
        "expirationSeconds": token.expiration_s,
        "boundObjectRef": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }
    account = pod["spec"].get("serviceAccountName") or "default"
    answer = await node.kube.request(
        "POST",
        SERVICE_ACCOUNT.path(metadata["namespace"], account, "token"),
        body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
    )
    write_whole(token.path, answer["status"]["token"].encode())
    return datetime.fromisoformat(answer["status"]["expirationTimestamp"]).timestamp() - time.time()


async def keep_tokens_fresh(node: NodeContext, pod: Object, volumes: Volumes) -> None:
    """Writes each token anew well before it expires; runs until cancelled."""
    if not volumes.tokens:
        return
    pause_s = min(token.expiration_s for token in volumes.tokens) * TOKEN_LIFE_FRACTION
    while True:
        await asyncio.sleep(pause_s)
        try:
            lives_s = [await write_token(node, pod, token) for token in volumes.tokens]
            pause_s = max(TOKEN_RETRY_S, min(lives_s) * TOKEN_LIFE_FRACTION)
        except KubeError as error:
            log.warning("token of pod %s: %s", pod["metadata"]["name"], error)
            pause_s = TOKEN_RETRY_S
