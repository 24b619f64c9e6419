"""What oarlock costs, beside the other tools that do the same: ``python -m benchmarks``."""
