"""What an engine costs and how fast it is: one YAML file per model under `profiles/`."""

from pathlib import Path

import msgspec
import yaml

from ingle_lab.engine.batch import Speed

MIB = 1024 * 1024
_FOLDER = Path(__file__).parent / "profiles"
_WEIGHT_FRACTIONS = {"fp8": 0.5, "int8": 0.5, "awq": 0.3, "awq_marlin": 0.3, "gptq": 0.3, "gptq_marlin": 0.3}


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times in seconds at time scale 1. MiB of `weights` over all GPUs, of `residue` and `kv` per GPU.

    Watts are per GPU and on top of what the bare GPU draws: `idle` awake and unused, `busy` with
    `busy_at_seqs` sequences or more, `loading` while weights are read or moved.
    """

    model: str
    weights_mib: int
    residue_mib: int
    kv_mib: int
    kv_bytes_per_token: int
    max_model_len: int
    max_num_seqs: int
    load_s: float
    first_request_extra_s: float
    wake_l1_s: float
    wake_l2_s: float
    sleep_l1_s: float
    sleep_l1_first_extra_s: float
    sleep_l2_s: float
    prefill_tokens_per_s: float
    prefill_overhead_ms: float
    decode_base_ms: float
    decode_per_seq_ms: float
    idle_w: float
    busy_w: float
    busy_at_seqs: int
    loading_w: float

    @property
    def speed(self) -> Speed:
        return Speed(
            prefill_tokens_per_s=self.prefill_tokens_per_s,
            prefill_overhead_s=self.prefill_overhead_ms / 1000,
            decode_base_s=self.decode_base_ms / 1000,
            decode_per_seq_s=self.decode_per_seq_ms / 1000,
        )

    def sleep_s(self, level: int, first: bool) -> float:
        if level == 2:
            return self.sleep_l2_s
        return self.sleep_l1_s + (self.sleep_l1_first_extra_s if first else 0.0)

    def running_w(self, sequences: int) -> float:
        """Watts per GPU, awake, with that many running sequences."""
        return self.idle_w + (self.busy_w - self.idle_w) * min(1.0, sequences / self.busy_at_seqs)

    def quantized(self, method: str | None) -> "Profile":
        """The same with smaller weights; a method without a known size changes nothing."""
        fraction = _WEIGHT_FRACTIONS.get((method or "").lower(), 1.0)
        return msgspec.structs.replace(self, weights_mib=round(self.weights_mib * fraction))


def profile_of(model: str) -> Profile:
    """The profile of a model by its name or the last part of a path to it; else the default one.

    Raises ValueError that names the file when a profile has an unknown, missing or mistyped field.
    """
    profiles = {path.stem: path for path in _FOLDER.glob("*.yaml")}
    name = model.rstrip("/").rsplit("/", 1)[-1].lower()
    path = profiles.get(name, profiles["default"])
    try:
        # The C loader reads the same YAML several times faster, and start-up is what a lab has most of.
        return msgspec.convert(yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader), Profile)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ValueError(f"profile {path}: {error}") from error
