"""Parts of the benchmark `placement-real`: pods through a real API server and a real kube-scheduler."""
