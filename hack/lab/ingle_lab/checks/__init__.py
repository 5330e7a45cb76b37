"""What tests of the whole lab look at: claims, writes in the audit log, traffic, processes that are left."""

from ingle_lab.checks.audit import Write, writes_by_us
from ingle_lab.checks.claims import wrong_claims
from ingle_lab.checks.processes import processes_of
from ingle_lab.checks.traffic import Traffic

__all__ = ["Traffic", "Write", "processes_of", "writes_by_us", "wrong_claims"]
