"""The pod's annotation names CDI devices.

The runtime has to hand that annotation on: with containerd, `pod_annotations = ["cdi.k8s.io/*"]` for the NVIDIA
runtime in CDI mode, whose `annotation-prefixes` holds `cdi.k8s.io/`; and the node's CDI specification has to name
GPUs by UUID (`nvidia-ctk cdi generate --device-name-strategy=uuid`).
"""

from __future__ import annotations

from ingle_core.placement import GpuAnnotation
from ingle_operator.attach.attachment import Attachment, gpus_variable, runtime_class

KEY = "cdi.k8s.io/ingle_gpus"
KIND = "nvidia.com/gpu"


def cdi(runtime_class_name: str) -> Attachment:
    """NVIDIA_VISIBLE_DEVICES is `void`, or a runtime that reads it too would put in the image's choice, often all."""
    variables = ({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}, gpus_variable("CUDA_VISIBLE_DEVICES"))
    return Attachment(runtime_class(runtime_class_name), variables, GpuAnnotation(KEY, f"{KIND}="))
