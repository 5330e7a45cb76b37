"""Parts of the benchmark `warm`: replays of public traces, and of made workloads, through the keep-alive strategies."""
