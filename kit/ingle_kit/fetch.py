"""`ingle-fetch`: copies weights from a claim to the node's disk, and shows an engine the copy where it is whole.

    ingle-fetch copy --claim DIR --path PATH --to DIR --folder NAME --reserve-mib N
    ingle-fetch link --claim DIR --path PATH --copy DIR --at DIR

`copy` may be killed at any time and goes on, file by file, where it was. It works in `.NAME.part`, and that gets its name
once each file has the size and the time of change of its origin. `link` never stops an engine: where the copy is not
what the claim holds now, the engine reads the claim. Standard library only: it starts before every engine.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import platform
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

PART_SUFFIX: Final = ".part"
OLD_SUFFIX: Final = ".old"
MANIFEST: Final = ".ingle-manifest.json"
COMMAND: Final = "ingle-fetch"
FILES_MAX: Final = 20_000
CHUNK_BYTES: Final = 8 * 1024 * 1024
MIB: Final = 1024 * 1024
NO_ROOM, CHANGED, BAD_ORIGIN, BUSY = 3, 4, 5, 6  # exit codes

IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
IOPRIO_WHO_PROCESS, IOPRIO_IDLE = 1, 3 << 13


class FetchError(Exception):
    """The copy cannot be made now; `code` is the exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class File(NamedTuple):
    """A file of the origin, by its path below it: size in bytes, time of change in nanoseconds."""

    path: str
    size_bytes: int
    changed_ns: int


def say(text: str) -> None:
    print(f"{COMMAND}: {text}", file=sys.stderr, flush=True)


def files_of(claim: Path, path: str) -> list[File]:
    """What is below `path` of a claim, sorted. Links are followed as far as the claim goes.

    Raises FetchError where it is no folder, empty, too large to list, or leads out of the claim.
    """
    root, origin = os.path.realpath(claim), os.path.join(claim, path)
    if not os.path.isdir(origin):
        raise FetchError(BAD_ORIGIN, f"{path} is no folder of the claim")
    found: list[File] = []
    for folder, folders, names in os.walk(origin):  # links to folders are not entered: no loops
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                raise FetchError(BAD_ORIGIN, f"{name} is a link to a folder: put the folder in its place")
        for name in names:
            at = os.path.join(folder, name)
            real = os.path.realpath(at)
            if os.path.commonpath([root, real]) != root or not os.path.isfile(real):
                raise FetchError(BAD_ORIGIN, f"{name} is no file of the claim")
            stat = os.stat(real)
            found.append(File(os.path.relpath(at, origin), stat.st_size, stat.st_mtime_ns))
            if len(found) > FILES_MAX:
                raise FetchError(BAD_ORIGIN, f"more than {FILES_MAX} files: name a smaller folder")
    if not found:
        raise FetchError(BAD_ORIGIN, f"{path} is empty")
    return sorted(found)


def is_whole(copy: Path, wanted: list[File]) -> bool:
    """Whether the copy's manifest, and the sizes of its files, are those of the origin."""
    try:
        told = [File(*entry) for entry in json.loads((copy / MANIFEST).read_text())["files"]]
        return told == wanted and all((copy / f.path).stat().st_size == f.size_bytes for f in wanted)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def copy(claim: Path, path: str, to: Path, folder: str, reserve_bytes: int) -> None:
    """Makes `to/folder` a whole copy. Raises FetchError; may be killed at any time and be called again."""
    to.mkdir(parents=True, exist_ok=True)
    done, part = to / folder, to / f".{folder}{PART_SUFFIX}"
    with (to / f".{folder}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FetchError(BUSY, f"another copier works on {folder}") from None
        wanted = files_of(claim, path)
        if is_whole(done, wanted):
            _remove(part)
            return
        part.mkdir(exist_ok=True)
        _remove_others(part, {file.path for file in wanted})
        for file in wanted:
            if not _has(part, file):
                _check_room(to, file, reserve_bytes)
                _copy_file(claim / path / file.path, part / file.path, file)
        if files_of(claim, path) != wanted:
            raise FetchError(CHANGED, "the claim has changed meanwhile")
        _write(part / MANIFEST, json.dumps({"files": wanted}))
        _put_in_place(part, done)


def _has(part: Path, file: File) -> bool:
    try:
        stat = (part / file.path).lstat()
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (file.size_bytes, file.changed_ns)


def _check_room(to: Path, file: File, reserve_bytes: int) -> None:
    stat = os.statvfs(to)
    free = stat.f_bavail * stat.f_frsize
    if free - file.size_bytes < reserve_bytes:
        raise FetchError(
            NO_ROOM,
            f"{file.path} needs {file.size_bytes // MIB} MiB, {free // MIB} MiB are free and {reserve_bytes // MIB} MiB"
            " stay reserved",
        )


def _copy_file(origin: Path, target: Path, file: File) -> None:
    """In a draft beside it first, so that a file of that name is always a whole one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}"[:250] + ".new")
    with origin.open("rb", buffering=0) as source, draft.open("wb", buffering=0) as sink:
        while data := source.read(CHUNK_BYTES):
            sink.write(data)
        os.fsync(sink.fileno())
        for handle in (source, sink):  # it is read once here: other pages are worth more
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if draft.stat().st_size != file.size_bytes:
        raise FetchError(CHANGED, f"{file.path} has changed meanwhile")
    os.utime(draft, ns=(file.changed_ns, file.changed_ns))
    draft.chmod(0o644)
    os.replace(draft, target)


def _write(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".new")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _remove_others(part: Path, wanted: set[str]) -> None:
    """Files of an older origin, and drafts."""
    for folder, _, names in os.walk(part):
        for name in names:
            at = Path(folder) / name
            if str(at.relative_to(part)) not in wanted:
                at.unlink()


def _put_in_place(part: Path, done: Path) -> None:
    """An empty folder of that name, as the kubelet makes, is replaced in one step; an older copy in two."""
    old = done.with_name(f".{done.name}{OLD_SUFFIX}")
    _remove(old)
    if done.is_dir() and any(done.iterdir()):
        os.rename(done, old)
    os.rename(part, done)
    _remove(old)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def link(claim: Path, path: str, copy_: Path, at: Path) -> bool:
    """Fills the folder `at` so that it looks like the claim, with `path` on the node's disk where the copy is whole.

    Whether it is. May be called again.
    """
    try:
        whole = is_whole(copy_, files_of(claim, path))
    except (FetchError, OSError) as error:
        say(f"{error}; reading the claim")
        whole = False
    parts = Path(path).parts
    below, origin = at, claim
    for part in parts[:-1]:
        _show_rest(origin, below, part)
        below, origin = below / part, origin / part
        below.mkdir(exist_ok=True)
    _show_rest(origin, below, parts[-1])
    _point(below / parts[-1], copy_ if whole else origin / parts[-1])
    return whole


def _show_rest(origin: Path, below: Path, but: str) -> None:
    with suppress(OSError):
        for name in sorted(os.listdir(origin))[:FILES_MAX]:
            if name != but:
                _point(below / name, origin / name)


def _point(at: Path, to: Path) -> None:
    with suppress(FileNotFoundError):
        at.unlink()
    at.symlink_to(to)


def be_idle(machine: str | None = None) -> None:
    """Lowest priority for CPU and disk; where that cannot be had, it goes on without."""
    os.nice(19)
    number = IOPRIO_SET.get(machine or platform.machine())
    if number is not None:
        ctypes.CDLL(None, use_errno=True).syscall(number, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE)


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Weights on the node's disk.")
    commands = parser.add_subparsers(dest="command", required=True)
    copying, linking = commands.add_parser("copy"), commands.add_parser("link")
    for one in (copying, linking):
        one.add_argument("--claim", type=Path, required=True, help="where the claim is mounted")
        one.add_argument("--path", required=True, help="folder of the weights in the claim")
    copying.add_argument("--to", type=Path, required=True, help="folder of all copies of this node")
    copying.add_argument("--folder", required=True, help="name of this copy's folder")
    copying.add_argument("--reserve-mib", type=int, default=0, help="MiB of the disk that stay free")
    linking.add_argument("--copy", type=Path, required=True, help="where the copy is mounted")
    linking.add_argument(
        "--at", type=Path, required=True, help="empty folder that the engine sees as the claim"
    )
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Exit code: 0 done, 3 no room, 4 the origin changed, 5 it cannot be copied, 6 another copier works on it."""
    options = arguments(sys.argv[1:] if words is None else words)
    if options.command == "link":
        whole = link(options.claim, options.path, options.copy, options.at)
        say(f"{options.path} is read from {'the disk of this node' if whole else 'the claim'}")
        return 0
    signal.signal(signal.SIGTERM, _end)  # as first process of a container it would not hear it
    be_idle()
    return _told(
        lambda: copy(options.claim, options.path, options.to, options.folder, options.reserve_mib * MIB)
    )


def _end(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def _told(work: Callable[[], None]) -> int:
    try:
        work()
    except FetchError as error:
        say(str(error))
        return error.code
    except OSError as error:
        say(f"{error.filename or ''}: {error.strerror}".lstrip(": "))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
