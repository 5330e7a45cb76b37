"""A stand-in for a model server: vLLM's HTTP surface, life cycle, GPU memory and watts, but no model."""
