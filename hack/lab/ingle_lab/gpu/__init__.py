"""The GPU stand-in: a `libnvidia-ml.so.1` of our own and the state behind it, one file a node.

What is simulated: every number. What is real: the ctypes path from nvidia-ml-py into a shared library, processes that
share a device, and that a killed process gives its memory back.
"""

from ingle_lab.gpu.build import BuildError, build_library
from ingle_lab.gpu.native import StateError
from ingle_lab.gpu.profile import GpuKind, GpuPlace, Profile, ProfileError, Zone, load_profile, profile_names
from ingle_lab.gpu.slot import OutOfMemory, Slot
from ingle_lab.gpu.state import (
    ERRORS,
    GpuReading,
    create_state,
    gpu_uuid,
    inject,
    read_gpus,
    read_total_used,
)

__all__ = [
    "ERRORS",
    "BuildError",
    "GpuKind",
    "GpuPlace",
    "GpuReading",
    "OutOfMemory",
    "Profile",
    "ProfileError",
    "Slot",
    "StateError",
    "Zone",
    "build_library",
    "create_state",
    "gpu_uuid",
    "inject",
    "load_profile",
    "profile_names",
    "read_gpus",
    "read_total_used",
]
