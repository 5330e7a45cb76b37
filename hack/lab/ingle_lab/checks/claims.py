"""The ledger against the pods and the GPUs: nothing claimed without a pod, nothing claimed twice or beyond the GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ingle_kit.kube import Object
from ingle_kit.names import ANNOTATION_GPUS


def wrong_claims(gpu_nodes: Iterable[Object], pods: Iterable[Object]) -> list[str]:
    """What does not fit together, a sentence each; empty when every claim has its pod and every pod its claim."""
    wrong: list[str] = []
    bound = {pod["metadata"]["uid"]: pod for pod in pods if ANNOTATION_GPUS in _annotations(pod)}
    held: Counter[str] = Counter()
    for node in gpu_nodes:
        name, spec = node["metadata"]["name"], node["spec"]
        uids = {pod["uid"] for pod in spec.get("pods") or ()}
        held.update(uids)
        wrong += [f"{name}: pod {uid} is in the ledger but does not exist" for uid in uids - bound.keys()]
        for gpu in spec.get("gpus") or ():
            wrong += _wrong_gpu(name, gpu, uids, bound)
        for zone in spec.get("zones") or ():
            if sum(c["memoryMiB"] for c in zone["claims"]) > zone["allocatableMiB"]:
                wrong.append(f"{name}: zone {zone['zone']} is oversold")
    for uid, pod in bound.items():
        if held[uid] != 1:
            wrong.append(f"pod {pod['metadata']['name']} is in {held[uid]} ledgers")
    return wrong


def _wrong_gpu(node: str, gpu: Object, uids: set[str], bound: dict[str, Object]) -> list[str]:
    wrong: list[str] = []
    claims = Counter(claim["podUID"] for claim in gpu["claims"])
    if sum(c["memoryMiB"] for c in gpu["claims"]) > gpu["allocatableMiB"]:
        wrong.append(f"{node}: {gpu['uuid']} is oversold")
    wrong += [f"{node}: {gpu['uuid']} has {n} claims of pod {uid}" for uid, n in claims.items() if n > 1]
    wrong += [f"{node}: {gpu['uuid']} is claimed by {uid}, not in the ledger" for uid in claims.keys() - uids]
    for uid in uids & bound.keys():
        wants = gpu["uuid"] in _annotations(bound[uid])[ANNOTATION_GPUS].split(",")
        if wants != (uid in claims):
            wrong.append(f"{node}: {gpu['uuid']} {'lacks' if wants else 'has'} a claim of pod {uid}")
    return wrong


def _annotations(pod: Object) -> dict[str, str]:
    return pod["metadata"].get("annotations") or {}
