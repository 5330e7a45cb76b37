"""The API server as the caller of the command sees it: kubeconfig, context, namespace, and nothing more."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_kube_config

from ingle_cli.failures import Failure
from ingle_kit.credentials import SERVICE_ACCOUNT_DIR, Access, load_access
from ingle_kit.kube import Kube

KUBECONFIG_DEFAULT: Final = "~/.kube/config"
TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says; None: not said."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


class CallersKube(Kube):
    """A connection with the caller's own rights. `namespace` is the one meant where the caller named none."""

    def __init__(self, access: Access, namespace: str) -> None:
        super().__init__(user_agent=f"ingle/{version('ingle')}", kubeconfig=None, timeout_s=TIMEOUT_S)
        self._access = access
        self.server, self.namespace = access.server, namespace


async def connect(wish: Wish) -> CallersKube:
    """As kubectl chooses: --kubeconfig, KUBECONFIG, ~/.kube/config, else the pod's service account.

    Reads files only; raises Failure with what to change.
    """
    paths = wish.kubeconfig or os.environ.get("KUBECONFIG") or KUBECONFIG_DEFAULT
    files = _existing(paths)
    with _said_while_loading() as said:
        try:
            if files:
                access, namespace = await _from_files(os.pathsep.join(files), wish.context)
            elif wish.kubeconfig is None and wish.context is None:
                access, namespace = await load_access(None), _pod_namespace()
            else:
                raise Failure(f"There is no kubeconfig {paths}: correct --kubeconfig or KUBECONFIG.")
        except ConfigException as error:
            where = f"kubeconfig {os.pathsep.join(files)}" if files else f"kubeconfig (none at {paths})"
            raise Failure(f"Cannot use the {where}: {'; '.join([str(error), *said])}") from error
        # The loader lets a malformed file end in whatever its first wrong value leads to.
        except (yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise Failure(f"Cannot read the kubeconfig {paths}: {error}") from error
    if said:
        raise Failure(f"The kubeconfig {paths} gives no credentials: {'; '.join(said)}")
    return CallersKube(access, wish.namespace or namespace)


def _existing(paths: str) -> list[str]:
    return [path for path in paths.split(os.pathsep) if path and Path(path).expanduser().is_file()]


async def _from_files(files: str, context: str | None) -> tuple[Access, str]:
    configuration = Configuration()
    loader = await load_kube_config(
        config_file=files, context=context, client_configuration=configuration, persist_config=False
    )
    chosen = loader.current_context.get("context") or {}
    access = Access(configuration.host.rstrip("/"), _tls(configuration), configuration)
    return access, str(chosen.get("namespace") or "default")


def _tls(configuration: Any) -> ssl.SSLContext | None:
    if not configuration.host.startswith("https"):
        return None
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    return context


def _pod_namespace() -> str:
    folder = Path(os.environ.get("INGLE_SERVICE_ACCOUNT_DIR", SERVICE_ACCOUNT_DIR))
    file = folder / "namespace"
    return file.read_text().strip() if file.is_file() else "default"


@contextmanager
def _said_while_loading() -> Iterator[list[str]]:
    """Errors that the loader only logs, such as those of a credential plugin."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, listener = logging.getLogger("kubernetes.aio.config"), Listener(logging.ERROR)
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(listener)
        logger.propagate = True
