"""Calls the real pynvml on request: a line `[function, arguments]` in, a line of JSON out.

An argument {"gpu": N} stands for the handle of GPU N, taken once and kept as a real reader keeps it.
"""

import ctypes
import json
import sys

import pynvml

HANDLES: dict[int, object] = {}


def argument(value):
    if isinstance(value, dict):
        index = value["gpu"]
        if index not in HANDLES:
            HANDLES[index] = pynvml.nvmlDeviceGetHandleByIndex(index)
        return HANDLES[index]
    return value


def plain(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, ctypes.Array | list):
        return [plain(item) for item in value]
    if isinstance(value, pynvml.c_nvmlFieldValue_t):
        number = value.value.ullVal if value.valueType == 3 else value.value.uiVal
        return {"id": value.fieldId, "return": value.nvmlReturn, "value": number}
    if isinstance(value, ctypes.Structure):
        return {field[0]: plain(getattr(value, field[0])) for field in value._fields_}
    if hasattr(value, "__dict__"):
        return {name: plain(item) for name, item in vars(value).items()}
    return value


def answer(function, arguments):
    try:
        result = getattr(pynvml, function)(*[argument(item) for item in arguments])
    except pynvml.NVMLError as error:
        return {"error": type(error).__name__, "code": error.value}
    if function.startswith("nvmlDeviceGetHandleBy"):
        return {"value": pynvml.nvmlDeviceGetIndex(result)}
    return {"value": plain(result)}


for line in sys.stdin:
    print(json.dumps(answer(*json.loads(line))), flush=True)
