{{ gold_rollup('15m') }}
