"""One day of many models that share few GPUs: what `bench.placement_conflicts` measures with."""
