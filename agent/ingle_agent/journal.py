"""The limits that GPUs had before the agent changed them, so that they can be given back.

Written before each change, by atomic rename. Entries of an earlier boot are dropped: a reboot resets limits.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class JournalUnreadable(Exception):
    """The file is there but says nothing certain: no limit may be given back by it."""


class Journal:
    """`previous` maps the UUID of each GPU whose limit we changed to the limit before, in W; None: not known."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path, self._boot_id = path, boot_id
        self._trusted = True
        self.previous: dict[str, int | None] = {}

    def load(self) -> None:
        """Raises JournalUnreadable; a file that is not there is an empty journal."""
        self.previous = read_journal(self._path, self._boot_id)

    def load_or_set_aside(self) -> None:
        """As `load`, but an unreadable file is renamed and what was before is unknown from then on."""
        try:
            self.load()
        except JournalUnreadable as error:
            log.warning("%s; set aside, earlier limits are unknown and will not be given back", error)
            self._trusted = False
            self._path.replace(self._path.with_suffix(".unreadable"))

    def intend(self, limits_w: Mapping[str, int]) -> None:
        """About to change these GPUs, whose limits now are given. Keeps the first one known of each.

        Raises OSError where the file cannot be written; the entries are kept in memory all the same.
        """
        new = {
            uuid: watts if self._trusted else None
            for uuid, watts in limits_w.items()
            if uuid not in self.previous
        }
        if new:
            self._write({**self.previous, **new})

    def forget(self, uuids: set[str]) -> None:
        """These have their earlier limits again."""
        if uuids & self.previous.keys():
            self._write({uuid: watts for uuid, watts in self.previous.items() if uuid not in uuids})

    def _write(self, previous: dict[str, int | None]) -> None:
        self.previous = previous
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        with draft.open("w") as file:
            json.dump({"bootID": self._boot_id, "previousWatts": previous}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)


def read_journal(path: Path, boot_id: str) -> dict[str, int | None]:
    """As `Journal.previous`. Raises JournalUnreadable; a file that is not there is an empty journal."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise JournalUnreadable(f"{path}: {error}") from error
    try:
        return _entries(json.loads(text), boot_id)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise JournalUnreadable(f"{path} is not a journal of limits: {error!r}") from error


def _entries(content: Any, boot_id: str) -> dict[str, int | None]:
    if content["bootID"] != boot_id:
        return {}
    entries = dict(content["previousWatts"].items())
    if not all(isinstance(uuid, str) and (w is None or isinstance(w, int)) for uuid, w in entries.items()):
        raise ValueError("previousWatts must map UUIDs to whole watts or null")
    return entries
