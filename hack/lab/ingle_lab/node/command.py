"""The local command of a container: words, environment, folders. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ingle_kit.kube import Object
from ingle_lab.node.facts import Place, Sources, bulk_values, field_value, key_value

SERVICE_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


@dataclass(frozen=True)
class Command:
    """What to start. `cwd` is empty for the container's own folder; `env` holds everything the process sees.

    `sub_paths`: folders of volumes that are made where they are missing, as the kubelet makes them.
    """

    argv: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    cwd: str
    sub_paths: tuple[str, ...] = ()


def expand(text: str, values: Mapping[str, str]) -> str:
    """Kubernetes' `$(NAME)`; `$$` is one `$`; an unknown name stays as it is."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return values.get(found[1], found[0])

    return _REFERENCE.sub(one, text)


def mount_folders(container: Object, volumes: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Local folder of each mount path of a container; `volumes` maps a volume's name to its folder.

    `values`: the container's variables, for `subPathExpr`.
    """
    folders = {}
    for mount in container.get("volumeMounts") or []:
        folder = volumes[mount["name"]]
        sub_path = mount.get("subPath") or expand(mount.get("subPathExpr") or "", values)
        folders[mount["mountPath"].rstrip("/") or "/"] = f"{folder}/{sub_path}" if sub_path else folder
    return folders


def relocate(text: str, folders: Mapping[str, str]) -> str:
    """The text with every mount path in it, and what lies under it, moved to the local folder."""
    if not folders:
        return text
    longest_first = sorted(folders, key=len, reverse=True)
    paths = "|".join(re.escape(path) for path in longest_first)
    return re.sub(rf"(?<![\w./-])(?:{paths})(?![\w.-])", lambda found: folders[found[0]], text)


def variable_name(volume: str) -> str:
    """`INGLE_LAB_MOUNT_<NAME>` of a volume."""
    return "INGLE_LAB_MOUNT_" + re.sub(r"\W", "_", volume).upper()


def command_of(
    container: Object,
    pod: Object,
    place: Place,
    *,
    prefix: list[str],
    base_env: Mapping[str, str],
    volumes: Mapping[str, str],
    sources: Sources,
) -> Command:
    """How to start a container here. `base_env` is the node's. Raises facts.NotYet."""
    given = {"KUBERNETES_SERVICE_HOST": place.api_host, "KUBERNETES_SERVICE_PORT": str(place.api_port)}
    own = _variables(container, pod, place, sources, given)
    folders = mount_folders(container, volumes, own)
    words = [expand(word, given | own) for word in _words(container)]
    env = dict(base_env) | given | {"HOSTNAME": pod["metadata"]["name"]}
    for mount in container.get("volumeMounts") or []:
        env[variable_name(mount["name"])] = volumes[mount["name"]]
    if SERVICE_ACCOUNT_PATH in folders:
        env["INGLE_SERVICE_ACCOUNT_DIR"] = folders[SERVICE_ACCOUNT_PATH]
    env |= {name: relocate(value, folders) for name, value in own.items()}
    argv = (*prefix, *(relocate(word, folders) for word in words))
    sub_paths = tuple(sorted(set(folders.values()) - set(volumes.values())))
    return Command(argv, env, relocate(container.get("workingDir", ""), folders), sub_paths)


def _words(container: Object) -> list[str]:
    return [*(container.get("command") or []), *(container.get("args") or [])]


def _variables(
    container: Object, pod: Object, place: Place, sources: Sources, given: Mapping[str, str]
) -> dict[str, str]:
    own: dict[str, str] = {}
    for bulk in container.get("envFrom") or []:
        own.update(bulk_values(bulk, sources))
    for variable in container.get("env") or []:
        value_from = variable.get("valueFrom") or {}
        value: str | None = expand(variable.get("value") or "", {**given, **own})
        if "fieldRef" in value_from:
            value = field_value(value_from["fieldRef"]["fieldPath"], pod, place)
        elif value_from:
            value = key_value(value_from, sources)
        if value is not None:
            own[variable["name"]] = value
    return own
