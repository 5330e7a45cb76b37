"""Who the kubelet gave this node's GPUs to: a holder pod of ours, another pod, nobody.

Only the kubelet knows: the device plugin's own choice stands in no object of the API. A GPU counts as a holder's only
where that is certain; it counts as another's as soon as anything speaks for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import grpc
import grpc.aio

from ingle_kit.holders import is_holder_name
from ingle_kit.names import RESOURCE_NVIDIA_GPU
from ingle_kit.objects import HeldBy
from ingle_kit.podresources import LIST, Given, given

CALL_LIMIT_S = 5.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
_VENDOR = RESOURCE_NVIDIA_GPU.partition("/")[0] + "/"
_REPLICA = "::"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holding:
    """UUIDs of GPUs by who has them. `answering` False: nothing is known of any."""

    holders: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    answering: bool = True

    def held_by(self, uuid: str) -> HeldBy:
        if not self.answering:
            return "Unknown"
        if uuid in self.others:
            return "Other"
        return "Holder" if uuid in self.holders else "Nobody"


SILENT = Holding(answering=False)


def holding(devices: Iterable[Given], namespace: str, node: str) -> Holding:
    """From what the kubelet lists. `namespace`: that of holder pods.

    A share of a GPU (`UUID::N`, time-slicing or MPS) makes it another's, also in the hands of a holder: whoever gets
    the next share is not asked. Of any resource of the vendor's, for the same GPU may be offered under two names.
    """
    holders: set[str] = set()
    others: set[str] = set()
    for one in devices:
        if not one.resource.startswith(_VENDOR):
            continue
        uuid, share, _ = one.device.partition(_REPLICA)
        ours = one.namespace == namespace and is_holder_name(one.pod, node)
        whole = not share and one.resource == RESOURCE_NVIDIA_GPU
        (holders if ours and whole else others).add(uuid)
    return Holding(frozenset(holders - others), frozenset(others))


async def ask(socket: str) -> list[Given]:
    """What the kubelet lists now. Raises OSError where it does not answer in time or not in its own words."""
    options = [("grpc.max_receive_message_length", ANSWER_BYTES_MAX)]
    try:
        async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
            answer = await channel.unary_unary(LIST)(b"", timeout=CALL_LIMIT_S)
        return given(answer)
    except grpc.aio.AioRpcError as error:
        raise OSError(f"{error.code().name}: {error.details()}") from error
    except ValueError as error:
        raise OSError(str(error)) from error


class HolderCheck:
    """Asks now and then; `holding` is the newest answer, None where there is no socket to ask.

    A kubelet that does not answer gives nothing away either: its last answer stays for `stale_s`. Then, as before the
    first one, no GPU is known to be ours.
    """

    def __init__(
        self,
        socket: str,
        *,
        node: str,
        namespace: str,
        pause_s: float,
        stale_s: float,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket, self._node, self._namespace = socket, node, namespace
        self._pause_s, self._stale_s, self._on_change, self._clock = pause_s, stale_s, on_change, clock
        self._answered_at_s = clock()
        self._silence = ""
        self.holding: Holding | None = SILENT if socket else None

    async def run(self) -> None:
        """Until cancelled."""
        while self._socket:
            await asyncio.sleep(self._pause_s)
            await self.look()
        await asyncio.Event().wait()

    async def look_once(self, limit_s: float) -> None:
        """A look that is given up after `limit_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self.look()

    async def look(self) -> None:
        """Asks the kubelet, where there is a socket."""
        if not self._socket:
            return
        try:
            found = holding(await ask(self._socket), self._namespace, self._node)
        except OSError as error:
            self._note(str(error))
            if self._clock() - self._answered_at_s < self._stale_s:
                return
            found = SILENT
        else:
            self._answered_at_s = self._clock()
            self._note("")
        if found != self.holding:
            self.holding = found
            self._on_change()

    def _note(self, silence: str) -> None:
        """Into the log, once for each time that it falls silent."""
        if bool(silence) != bool(self._silence):
            log.warning("pod-resources of the kubelet at %s: %s", self._socket, silence or "answering again")
        self._silence = silence
