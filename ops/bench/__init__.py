"""Benchmarks that print what was measured in one run, beside a peer in the same run: `python -m ops.bench
[--quick] [--json]`.
"""
