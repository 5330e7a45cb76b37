"""Stands for the stock device plugin and the kubelet's device manager: which container of which pod has which GPU."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from ingle_kit.kube import Object
from ingle_kit.names import RESOURCE_NVIDIA_GPU
from ingle_kit.podresources import Given
from ingle_lab.node.volumes import write_whole


class Devices:
    """`uuids` are offered as `nvidia.com/gpu`. What was given outlives the program in `checkpoint`, as the kubelet's."""

    def __init__(self, uuids: Sequence[str], checkpoint: Path) -> None:
        self._uuids, self._checkpoint = tuple(uuids), checkpoint
        self._given: dict[str, list[Given]] = {}
        if checkpoint.exists():
            kept = json.loads(checkpoint.read_text())
            self._given = {uid: [Given(*one) for one in given] for uid, given in kept.items()}

    def give(self, pod: Object, alive: Collection[str]) -> None:
        """Gives each container as many free GPUs as it asks for. Pods that are not in `alive` (UIDs) have none.

        Enough are free when the pod was admitted by the amounts.
        """
        self._keep(alive)
        taken = {one.device for given in self._given.values() for one in given}
        free = [uuid for uuid in self._uuids if uuid not in taken]
        metadata, mine = pod["metadata"], []
        for container in pod["spec"]["containers"]:
            requests = (container.get("resources") or {}).get("requests") or {}
            for _ in range(int(requests.get(RESOURCE_NVIDIA_GPU, 0))):
                where = (metadata["namespace"], metadata["name"], container["name"])
                mine.append(Given(*where, RESOURCE_NVIDIA_GPU, free.pop(0)))
        if mine:
            self._given[metadata["uid"]] = mine
        self._save()

    def given(self, alive: Collection[str]) -> list[Given]:
        """Everything that pods in `alive` have, by the order in which they came."""
        self._keep(alive)
        return [one for given in self._given.values() for one in given]

    def environment(self, uid: str, container: str) -> dict[str, str]:
        """What the stock plugin gives a container that has GPUs; nothing to one that has none."""
        uuids = [one.device for one in self._given.get(uid, ()) if one.container == container]
        return {"NVIDIA_VISIBLE_DEVICES": ",".join(uuids)} if uuids else {}

    def _keep(self, alive: Collection[str]) -> None:
        self._given = {uid: given for uid, given in self._given.items() if uid in alive}

    def _save(self) -> None:
        if self._uuids:
            write_whole(self._checkpoint, json.dumps(self._given).encode())
