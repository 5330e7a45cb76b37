"""vLLM's command line, as far as it matters here, and the environment of the lab."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
FIT_KV_CACHE = -1
_ANY_ADDRESS = ("", "0.0.0.0", "::", "[::]")


class UsageError(Exception):
    """The engine cannot start as asked; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the engine was started with; `None` leaves the choice to the profile."""

    model: str
    served_names: tuple[str, ...]
    host: str
    port: int
    tensor_parallel: int
    max_model_len: int | None  # FIT_KV_CACHE: as long as the KV cache allows
    max_num_seqs: int | None
    kv_bytes: int | None
    quantization: str | None
    sleep_endpoints: bool
    unknown_flags: tuple[str, ...]
    kind: str = "vllm"
    keeps_weights: bool = True  # SGLang: in host memory while released
    health_generates: bool = False  # SGLang: /health makes a token
    kv_tokens: int | None = None  # SGLang's way of giving the KV cache a size


@dataclass(frozen=True, slots=True)
class LabSettings:
    """What the lab tells each of its processes. `start_fault` is "", "never_ready" or "crash_on_load"."""

    gpu_state: Path
    gpu_uuids: tuple[str, ...]
    time_scale: float
    faults_allowed: bool
    start_fault: str
    grace_s: float
    keep_alive_s: float


def human_int(text: str) -> int:
    """Reads 4096, 25.5G (binary), 25.5g (decimal). Raises argparse's error on anything else."""
    unit = {**_DECIMAL, **_BINARY}.get(text[-1:])
    try:
        return int(float(text[:-1]) * unit) if unit else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number like 4096, 8k or 25.5G") from None


def parse(argv: Sequence[str], env: Mapping[str, str]) -> Options:
    """Reads `[serve] [MODEL] [flags]`. Raises UsageError; exits on --help and on malformed values."""
    words = [_dashed(word) for word in argv]
    if words[:1] == ["serve"]:
        words = words[1:]
    positional = words.pop(0) if words and not words[0].startswith("-") else None
    known, unknown = _parser().parse_known_args(words)
    model = known.model or positional
    if not model:
        raise UsageError("no model given: say `serve MODEL [flags]` or `--model MODEL`")
    return Options(
        model=model,
        served_names=tuple(known.served_model_name or [model]),
        host=listen_address(known.host, env),
        port=known.port,
        tensor_parallel=known.tensor_parallel_size,
        max_model_len=known.max_model_len,
        max_num_seqs=known.max_num_seqs,
        kv_bytes=known.kv_cache_memory_bytes,
        quantization=known.quantization,
        sleep_endpoints=known.enable_sleep_mode and env.get("VLLM_SERVER_DEV_MODE") == "1",
        unknown_flags=tuple(unknown),
    )


def lab_settings(env: Mapping[str, str], tensor_parallel: int) -> LabSettings:
    """Reads the environment. Raises UsageError when the GPUs or the time scale make no sense."""
    uuids = tuple(part.strip() for part in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip())
    if not uuids:
        raise UsageError("no GPU is visible: set CUDA_VISIBLE_DEVICES to GPU UUIDs, comma separated")
    if len(set(uuids)) != tensor_parallel or len(set(uuids)) != len(uuids):
        raise UsageError(
            f"CUDA_VISIBLE_DEVICES names {len(uuids)} GPUs ({len(set(uuids))} different ones) but "
            f"--tensor-parallel-size is {tensor_parallel}: make them equal"
        )
    if not (state := env.get("INGLE_LAB_GPU_STATE")):
        raise UsageError("INGLE_LAB_GPU_STATE is not set: it is the path of the node's shared GPU state")
    fault = env.get("LAB_FAULT", "")  # not INGLE_*: a pool's template must be able to set it
    if fault not in ("", "never_ready", "crash_on_load"):
        raise UsageError(f"LAB_FAULT={fault!r} is unknown: use never_ready or crash_on_load")
    return LabSettings(
        gpu_state=Path(state),
        gpu_uuids=uuids,
        time_scale=_positive(env, "INGLE_LAB_TIME_SCALE", 1.0),
        faults_allowed=env.get("INGLE_LAB_FAULTS") == "1",
        start_fault=fault,
        grace_s=_positive(env, "INGLE_LAB_GRACE_S", 20.0),
        keep_alive_s=_positive(env, "VLLM_HTTP_TIMEOUT_KEEP_ALIVE", 5.0),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ingle_lab.engine serve",
        usage="%(prog)s MODEL [flags]",
        description="A stand-in for `vllm serve`. Flags of vLLM that are not listed are accepted with a warning.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model")
    add("--host", default="", help="default: the pod's address, else 127.0.0.1")
    add("--port", type=int, default=8000)
    add("--served-model-name", nargs="+")
    add("--tensor-parallel-size", "-tp", type=int, default=1)
    add("--max-model-len", type=_model_len, help="tokens, or auto: what the KV cache allows")
    add("--max-num-seqs", type=int)
    add("--kv-cache-memory-bytes", type=human_int, help="per GPU")
    add("--quantization", "-q")
    add("--enable-sleep-mode", action="store_true")
    for accepted in ("--dtype", "--gpu-memory-utilization", "--seed", "--tokenizer", "--load-format"):
        add(accepted, help="accepted, changes nothing")
    return parser


def _model_len(text: str) -> int:
    return FIT_KV_CACHE if text == "auto" else human_int(text)


def _dashed(word: str) -> str:
    """vLLM takes --max_model_len as well as --max-model-len."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word


def listen_address(host: str, env: Mapping[str, str]) -> str:
    """In a pod "any address" is the pod's; here all pods share one machine, so it must be that one alone."""
    if host not in _ANY_ADDRESS:
        return host
    return env.get("INGLE_POD_IP") or env.get("POD_IP") or "127.0.0.1"


def _positive(env: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(env.get(name) or default)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise UsageError(f"{name}={env[name]!r} must be a number above 0")
    return value
