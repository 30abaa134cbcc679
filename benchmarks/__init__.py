"""The figures of docs/performance.md, re-runnable: `make bench`, or `python -m benchmarks check|statements|ingest|worlds`.

Real processes on the loopback, bounded in time, stopped at the end. Every figure is a median of several rounds with the
range beside it, and a ratio is taken within a round, because shared machines drift.
"""
