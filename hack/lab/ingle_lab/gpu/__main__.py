"""`python -m ingle_lab.gpu`: build the library; create, show or break a node's GPU state."""

import argparse
import json
import sys
from dataclasses import asdict

from ingle_lab.gpu import (
    ERRORS,
    BuildError,
    ProfileError,
    StateError,
    build_library,
    create_state,
    inject,
    profile_names,
    read_gpus,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ingle_lab.gpu", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the library and print its path")
    create = commands.add_parser("create", help="write a fresh state file and print the GPUs' UUIDs")
    create.add_argument("path")
    create.add_argument("--profile", required=True, help=f"{', '.join(profile_names())}, or a .yaml file")
    create.add_argument("--node", help="name of the node (default: the file's folder)")
    show = commands.add_parser("show", help="print all GPUs of a state file")
    show.add_argument("path")
    show.add_argument("--json", action="store_true", help="one JSON list instead of a table")
    broken = commands.add_parser("inject", help="give a GPU an error or an out-of-band limit")
    broken.add_argument("path")
    broken.add_argument("gpu", type=int, help="index of the GPU")
    broken.add_argument("--error", choices=sorted(ERRORS))
    broken.add_argument("--enforced-w", type=float, help="enforce this limit though more was asked for")
    broken.add_argument("--clear", action="store_true", help="first take away what was injected before")
    return parser


def _show(path: str, as_json: bool) -> None:
    gpus = read_gpus(path)
    if as_json:
        print(json.dumps([asdict(gpu) for gpu in gpus]))
        return
    print("GPU zone  used MiB / total    draw W  limit W  enforced W  error  UUID")
    for index, gpu in enumerate(gpus):
        error = gpu.read_error or gpu.write_error
        print(
            f"{index:3} {gpu.zone:4} {gpu.used_bytes >> 20:9} / {gpu.total_bytes >> 20:6} {gpu.average_w:9.1f}"
            f" {gpu.limit_w:8.0f} {gpu.enforced_w:11.0f} {error or '-':>6}  {gpu.uuid}"
        )


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 0 when done, 1 with a line on stderr when it cannot be."""
    given = _parser().parse_args(arguments)
    try:
        match given.command:
            case "build":
                print(build_library())
            case "create":
                print("\n".join(create_state(given.path, given.profile, given.node)))
            case "show":
                _show(given.path, given.json)
            case "inject":
                inject(given.path, given.gpu, given.error, given.enforced_w, given.clear)
    except (BuildError, ProfileError, StateError, ValueError, OSError) as error:
        print(f"ingle_lab.gpu: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
