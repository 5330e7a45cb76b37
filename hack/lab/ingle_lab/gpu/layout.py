"""The state file's layout, field for field as `csrc/state.h`: change both, and raise the version, or neither."""

import ctypes as c

MAGIC = 0x5550474C474E49
VERSION = 2
MAX_GPUS = 16
MAX_SLOTS = 256
MAX_LINKS = 36
MAX_CLOCKS = 32
MAX_CPU_WORDS = 16
SEGMENTS = 256
NO_ZONE = 0xFFFFFFFF
LINK_GPU, LINK_SWITCH, LINK_NONE = 0, 2, 255


class PciAddress(c.Structure):
    _fields_ = [(name, c.c_uint32) for name in ("domain", "bus", "device", "device_id", "subsystem_id")]


class Link(c.Structure):
    _fields_ = [("type", c.c_uint32), ("remote", PciAddress)]


class Segment(c.Structure):
    _fields_ = [
        (name, c.c_uint64)
        for name in ("ticket", "previous", "t_ns", "draw_bits", "target_bits", "energy_bits", "check")
    ]


class Gpu(c.Structure):
    _fields_ = [
        ("uuid", c.c_char * 80),
        ("name", c.c_char * 96),
        ("serial", c.c_char * 32),
        ("pci", PciAddress),
        ("zone", c.c_uint32),
        ("memory_total_bytes", c.c_uint64),
        ("memory_reserved_bytes", c.c_uint64),
        ("idle_mw", c.c_uint32),
        ("min_mw", c.c_uint32),
        ("max_mw", c.c_uint32),
        ("default_mw", c.c_uint32),
        ("sm_idle_mhz", c.c_uint32),
        ("sm_max_mhz", c.c_uint32),
        ("memory_mhz", c.c_uint32),
        ("clock_count", c.c_uint32),
        ("sm_clocks_mhz", c.c_uint32 * MAX_CLOCKS),
        ("ancestor", c.c_uint32 * MAX_GPUS),
        ("links", Link * MAX_LINKS),
        ("limit_mw", c.c_uint32),
        ("out_of_band_mw", c.c_uint32),
        ("lock_min_mhz", c.c_uint32),
        ("lock_max_mhz", c.c_uint32),
        ("persistence", c.c_uint32),
        ("read_error", c.c_uint32),
        ("write_error", c.c_uint32),
        ("parent", c.c_uint32),
        ("head", c.c_uint64),
        ("last_ticket", c.c_uint64),
        ("energy_floor_mj", c.c_uint64),
        ("segments", Segment * SEGMENTS),
    ]


class SlotCells(c.Structure):
    _fields_ = [
        ("owner", c.c_uint64),
        ("memory_bytes", c.c_uint64 * MAX_GPUS),
        ("wanted_bytes", c.c_uint64 * MAX_GPUS),
        ("busy_mw", c.c_uint64 * MAX_GPUS),
    ]


class ZoneCells(c.Structure):
    _fields_ = [("memory_bytes", c.c_uint64), ("cpus", c.c_uint64 * MAX_CPU_WORDS)]


class State(c.Structure):
    _fields_ = [
        ("magic", c.c_uint64),
        ("version", c.c_uint32),
        ("gpu_count", c.c_uint32),
        ("zone_count", c.c_uint32),
        ("slot_count", c.c_uint32),
        ("size_bytes", c.c_uint64),
        ("created_ns", c.c_uint64),
        ("driver_version", c.c_char * 80),
        ("node", c.c_char * 256),
        ("zones", ZoneCells * MAX_GPUS),
        ("gpus", Gpu * MAX_GPUS),
        ("slots", SlotCells * MAX_SLOTS),
    ]


class Reading(c.Structure):
    _fields_ = [
        ("draw_mw", c.c_double),
        ("average_mw", c.c_double),
        ("wanted_mw", c.c_double),
        ("busy_mw", c.c_double),
        ("energy_mj", c.c_uint64),
        ("enforced_mw", c.c_uint32),
    ]


SIZES = (VERSION, *(c.sizeof(kind) for kind in (State, Gpu, SlotCells, Segment, Reading)))
"""What `ingle_lab_gpu_layout(0..5)` of a matching library answers."""
