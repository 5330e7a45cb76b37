"""What a pod may ask about itself and its surroundings. Pure."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ingle_kit.kube import Object
from ingle_lab.node.admission import all_containers

SourceKey = tuple[str, str]  # ("ConfigMap" or "Secret", name)
Sources = Mapping[SourceKey, Object | None]  # None: does not exist

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class NotYet(Exception):
    """Something the pod needs is not there yet; the text names it. May be tried again."""


@dataclass(frozen=True)
class Place:
    """Where a pod runs."""

    node_name: str
    node_address: str
    pod_address: str
    api_host: str
    api_port: int


def field_value(path: str, pod: Object, place: Place) -> str:
    """Value of a downward API field. Raises NotYet for a path that Kubernetes has and this does not."""
    metadata, spec = pod["metadata"], pod["spec"]
    found = _SUBSCRIPT.fullmatch(path)
    if found is not None:
        return str((metadata.get(found[1]) or {}).get(found[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = metadata.get(path.removeprefix("metadata.")) or {}
        return "".join(f'{key}="{value}"\n' for key, value in sorted(entries.items()))
    values = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": place.node_name,
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": place.node_address,
        "status.hostIPs": place.node_address,
        "status.podIP": place.pod_address,
        "status.podIPs": place.pod_address,
    }
    if path not in values:
        raise NotYet(f"fieldRef {path} is not known to the node stand-in")
    return str(values[path])


def source_keys(pod: Object) -> set[SourceKey]:
    """Every ConfigMap and Secret whose content the pod's env and volumes use."""
    keys: set[SourceKey] = set()
    for container in all_containers(pod):
        for variable in container.get("env") or []:
            keys |= _key_refs(variable.get("valueFrom") or {})
        for bulk in container.get("envFrom") or []:
            keys |= _bulk_refs(bulk)
    for volume in pod["spec"].get("volumes") or []:
        if "configMap" in volume:
            keys.add(("ConfigMap", volume["configMap"]["name"]))
        if "secret" in volume:
            keys.add(("Secret", volume["secret"]["secretName"]))
        for source in (volume.get("projected") or {}).get("sources") or []:
            keys |= {(kind, source[field]["name"]) for kind, field in _VOLUME_FIELDS if field in source}
    return keys


_VOLUME_FIELDS = (("ConfigMap", "configMap"), ("Secret", "secret"))
_KEY_FIELDS = (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef"))
_BULK_FIELDS = (("ConfigMap", "configMapRef"), ("Secret", "secretRef"))


def _key_refs(value_from: Object) -> set[SourceKey]:
    return {(kind, value_from[field]["name"]) for kind, field in _KEY_FIELDS if field in value_from}


def _bulk_refs(bulk: Object) -> set[SourceKey]:
    return {(kind, bulk[field]["name"]) for kind, field in _BULK_FIELDS if field in bulk}


def key_value(value_from: Object, sources: Sources) -> str | None:
    """Value of a configMapKeyRef or secretKeyRef; None when it is optional and absent. Raises NotYet."""
    for kind, field in _KEY_FIELDS:
        if field in value_from:
            ref = value_from[field]
            content = content_of(kind, ref["name"], bool(ref.get("optional")), sources)
            if content is not None and ref["key"] in content:
                return content[ref["key"]].decode()
            if ref.get("optional"):
                return None
            raise NotYet(f"couldn't find key {ref['key']} in {kind} {ref['name']}")
    return None


def bulk_values(bulk: Object, sources: Sources) -> Iterator[tuple[str, str]]:
    """Names and values of one envFrom entry. Raises NotYet."""
    for kind, field in _BULK_FIELDS:
        if field in bulk:
            ref = bulk[field]
            content = content_of(kind, ref["name"], bool(ref.get("optional")), sources) or {}
            for name, value in sorted(content.items()):
                yield bulk.get("prefix", "") + name, value.decode()


def content_of(kind: str, name: str, optional: bool, sources: Sources) -> dict[str, bytes] | None:
    """Decoded data of a source; None when it is optional and absent. Raises NotYet."""
    source = sources.get((kind, name))
    if source is None:
        if optional:
            return None
        raise NotYet(f'{kind.lower()} "{name}" not found')
    return decoded(kind, source)


def decoded(kind: str, source: Object) -> dict[str, bytes]:
    """Data of a ConfigMap or Secret as bytes."""
    plain = {} if kind == "Secret" else {k: v.encode() for k, v in (source.get("data") or {}).items()}
    binary = source.get("data" if kind == "Secret" else "binaryData") or {}
    return plain | {key: b64decode(value) for key, value in binary.items()}
