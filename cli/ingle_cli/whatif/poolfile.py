"""The pool in a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import yaml

from ingle_cli.failures import Failure
from ingle_cli.objects import Object
from ingle_kit.names import INFERENCE_POOL

FILE_BYTES_MAX: Final = 1024 * 1024


def read_pool(path: str, name: str | None = None) -> Object:
    """The InferencePool in the YAML or JSON file `path`, `-` for stdin; `name` says which where there are several.

    Raises Failure for a file that cannot be read or has not exactly one that is meant. Other kinds are passed over.
    """
    try:
        pools: list[Object] = [obj for obj in yaml.safe_load_all(_text(path)) if _is_pool(obj)]
    except yaml.YAMLError as error:
        raise Failure(f"{path} is not YAML: {error}") from error
    named = [obj for obj in pools if name in (None, obj["metadata"]["name"])]
    if len(named) == 1:
        return named[0]
    have = ", ".join(str(obj["metadata"]["name"]) for obj in pools) or "none"
    if name is not None:
        raise Failure(f"{path} has no one InferencePool {name}; it has: {have}.")
    hint = "say which with --pool NAME" if pools else f"it needs one of {INFERENCE_POOL.api_version}"
    raise Failure(f"{path} has {len(pools)} InferencePools ({have}): {hint}.")


def _text(path: str) -> str:
    try:
        if path == "-":
            text = sys.stdin.read(FILE_BYTES_MAX + 1)
        else:
            with Path(path).open(encoding="utf-8") as file:
                text = file.read(FILE_BYTES_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"Cannot read {path}: {error}") from error
    if len(text) > FILE_BYTES_MAX:
        raise Failure(f"{path} is longer than {FILE_BYTES_MAX} bytes.")
    return text


def _is_pool(obj: Any) -> bool:
    if not isinstance(obj, dict) or obj.get("kind") != INFERENCE_POOL.kind:
        return False
    if obj.get("apiVersion") != INFERENCE_POOL.api_version:
        return False
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise Failure("metadata.name: the InferencePool needs a name.")
    return True
