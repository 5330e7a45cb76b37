"""Which installed distributions our processes need, from the metadata that pip checked against the lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(requirements: Iterable[str]) -> list[Distribution]:
    """The distributions that these requirements need here, themselves too, by name."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        need = waiting.pop()
        name, extras = canonicalize_name(need.name), frozenset(need.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found[name] = distribution(name)
        inner = [Requirement(text) for text in found[name].requires or ()]
        waiting += [one for one in inner if _applies(one, extras)]
    return [found[name] for name in sorted(found)]


def _applies(need: Requirement, extras: frozenset[str]) -> bool:
    if need.marker is None:
        return True
    return any(need.marker.evaluate({"extra": extra}) for extra in (extras or {""}))


def files_of(found: Distribution) -> Iterator[tuple[str, Path]]:
    """Its files in site-packages: path there, path here. Without compiled ones, commands and tests."""
    for file in found.files or ():
        path = Path(str(file.locate()))
        text = str(file)
        if text.startswith("..") or text.endswith(".pyc") or "/tests/" in text or not path.is_file():
            continue
        yield text, path
