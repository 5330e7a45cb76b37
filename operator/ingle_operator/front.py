"""kopf as a thin front, in a thread and loop of its own: events of our kinds become keys in our queue.

kopf brings start-up, signals and watching of the custom resources. It writes nothing here: no finalizer, no
annotation, no handler result. What it might miss (deletions in a watch gap), our own reflectors see.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import kopf

from ingle_kit.credentials import Access
from ingle_kit.names import GROUP, INFERENCE_POOL, POWER_BUDGET, ROUTING_POLICY, VERSION
from ingle_operator.world import ALL

TOPICS = {INFERENCE_POOL: "pool", ROUTING_POLICY: "policy", POWER_BUDGET: "budget"}
STOP_S = 5.0
IDENTITY: Any = "ingle-operator"
"""Nobody reads it. Without one, kopf asks for the name of the user, and in a container the id has none."""


class Front:
    """Starts and stops kopf. `add(topic, name)` is called in the given loop's thread."""

    def __init__(
        self, access: Access, loop: asyncio.AbstractEventLoop, add: Callable[[str, str], None]
    ) -> None:
        self._access, self._loop, self._add = access, loop, add
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self.ended = asyncio.Event()

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, STOP_S)

    def _run(self) -> None:
        try:
            asyncio.run(
                kopf.operator(
                    registry=self._registry(),
                    identity=IDENTITY,
                    clusterwide=True,
                    standalone=True,
                    stop_flag=self._stop,
                )
            )
        except Exception:
            logging.getLogger(__name__).exception("kopf ended")
        finally:
            self._loop.call_soon_threadsafe(self.ended.set)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        kopf.on.startup(registry=registry)(_settle)
        for kind, topic in TOPICS.items():
            kopf.on.event(GROUP, VERSION, kind.plural, registry=registry)(self._handler(topic))
        return registry

    def _handler(self, topic: str) -> Callable[..., None]:
        def changed(*, name: str, namespace: str | None, **_: Any) -> None:
            key = f"{namespace}/{name}" if namespace else ALL
            self._loop.call_soon_threadsafe(self._add, topic, key)

        return changed

    def _login(self, **_: Any) -> kopf.ConnectionInfo:
        configuration = self._access.configuration
        if configuration.refresh_api_key_hook is not None:
            configuration.refresh_api_key_hook(configuration)
        token = configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization")
        scheme, space, value = (token or "").partition(" ")
        return kopf.ConnectionInfo(
            server=self._access.server,
            ca_path=configuration.ssl_ca_cert,
            scheme=scheme.capitalize() if space else None,
            token=value or token,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
        )


def _settle(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    settings.watching.server_timeout = 300
