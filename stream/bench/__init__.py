"""Benchmarks: each measures reelsort and its peers interleaved in one run, and reports ratios."""
