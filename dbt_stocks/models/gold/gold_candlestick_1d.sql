{{ gold_rollup(
    '1d',
    trend=trailing('avg(cast(rollups.close as double))', 'rollups.symbol', 'rollups.window_start'),
    more=['pre_volume', 'post_volume']
) }}
