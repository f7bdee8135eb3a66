"""Minimal reproductions, with stock Quix Streams, of the upstream faults in `docs/quix.md`.

Each runs with `python -m benchmarks.upstream.NAME` and starts its own Kafka.
"""
