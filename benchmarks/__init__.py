"""What the documents' figures come from: each prints a table and leaves results/NAME.json.

`make bench` runs them all and makes docs/performance.md of the results. Run with no switches, a
benchmark leaves its result; cut short by switches it is only printed, or with --keep left too.
"""
