{{ gold_rollup('1h') }}
