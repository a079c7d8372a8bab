"""Measurements beside a peer in the same run. Each module prints a table: ``python -m benchmarks.infinite_width``."""
