{{ gold_rollup('5m') }}
