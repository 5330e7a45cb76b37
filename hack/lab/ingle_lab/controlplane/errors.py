"""The one error that this package raises for things a person can put right."""

from __future__ import annotations


class ControlPlaneError(Exception):
    """What went wrong and, after a blank, what to do about it. Printed as it is."""
