"""Warm pools on the stand-ins: who is awake when requests come, on a real control plane; engines are simulated."""
