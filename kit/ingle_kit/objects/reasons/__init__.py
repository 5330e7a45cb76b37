"""Every reason that stands in a condition, an engine's status, an event or an answer.

`python -m ingle_kit.objects.reasons` writes docs/reasons.md from here, `--check` fails where it differs.
"""

from ingle_kit.objects.reasons.explanations import EXPLANATIONS, Explanation
from ingle_kit.objects.reasons.names import Reason

__all__ = ["EXPLANATIONS", "Explanation", "Reason"]
