"""The NVIDIA runtime reads NVIDIA_VISIBLE_DEVICES and puts those GPUs into the container."""

from __future__ import annotations

from ingle_operator.attach.attachment import Attachment, gpus_variable, runtime_class


def runtime_class_env(runtime_class_name: str) -> Attachment:
    """Needs a runtime class of the NVIDIA runtime, or that as the node's default."""
    variables = (gpus_variable("NVIDIA_VISIBLE_DEVICES"), gpus_variable("CUDA_VISIBLE_DEVICES"))
    return Attachment(runtime_class(runtime_class_name), variables)
