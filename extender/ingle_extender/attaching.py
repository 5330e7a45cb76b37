"""Which annotation a pod's Binding carries beside its GPUs: read in filter, needed in bind."""

from __future__ import annotations

from collections import OrderedDict

from ingle_core.placement import GpuAnnotation
from ingle_extender.wire import Pod


def annotation_of(pod: Pod) -> GpuAnnotation | None:
    """None where it wants none, or its ask cannot be read (which filter and bind tell by themselves)."""
    try:
        return pod.ask().gpu_annotation
    except ValueError:
        return None


class Attaching:
    """By pod UID, of the last `limit` pods seen. A pod that wants nothing is remembered too: bind need not ask."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: OrderedDict[str, GpuAnnotation | None] = OrderedDict()

    def saw(self, pod: Pod) -> None:
        """A pod as filter or the API server gave it."""
        self._seen.pop(pod.metadata.uid, None)
        self._seen[pod.metadata.uid] = annotation_of(pod)
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)

    def knows(self, pod_uid: str) -> bool:
        return pod_uid in self._seen

    def wanted(self, pod_uid: str) -> GpuAnnotation | None:
        return self._seen.get(pod_uid)
