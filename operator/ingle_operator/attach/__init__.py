"""Ways in which the GPUs chosen for a pod come into its container. One module a driver, one line in the table.

Which driver is used is the operator's setting INGLE_ATTACH. A change holds for pods that are made from then on.
"""

from __future__ import annotations

from typing import Final

from ingle_operator.attach.attachment import Attachment, Driver
from ingle_operator.attach.cdi import cdi
from ingle_operator.attach.runtime_class_env import runtime_class_env

DRIVERS: Final[dict[str, Driver]] = {"RuntimeClassEnv": runtime_class_env, "CDI": cdi}

__all__ = ["DRIVERS", "Attachment", "Driver"]
