"""Benchmarks behind the figures in the documentation.

Each prints a table and writes results/NAME.json. `make bench` runs all of them and generates
docs/performance.md from the results. Without options a benchmark writes its result. Shortened by
options, it only prints the table, unless --keep is given.
"""
