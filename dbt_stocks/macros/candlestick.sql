{# Query of gold_candlestick for a rollup interval: the columns of a candle, numbers as doubles.
   `trend` is the expression of the trend line, which for days is over the last 20 days. A day is
   labelled with its session date at midnight, which is the exchange's time already. #}
{% macro gold_rollup(interval, trend='rollups.trend_line', more=[]) -%}
with silver_rollups as (

    select * from {{ ref('silver_rollups') }}
    where candle_interval = '{{ interval }}'

),

final as (

    select
        rollups.symbol,
        rollups.window_start as candle_time,
        rollups.window_end as candle_end,
        cast(rollups.low as double) as candle_low,
        cast(rollups.high as double) as candle_high,
        cast(rollups.open as double) as candle_open,
        cast(rollups.close as double) as candle_close,
        {{ trend }} as trend_line,
        cast(rollups.volume as double) as volume,
        cast(rollups.notional as double) as traded_value,
        rollups.vwap,
        rollups.trade_count,
        rollups.eligible_count,
        rollups.odd_lot_count,
        cast(rollups.odd_lot_volume as double) as odd_lot_volume,
        rollups.zero_volume_count,
        rollups.late_count,
        rollups.duplicate_count,
        cast(rollups.covered_ms as bigint) as covered_ms,
        rollups.price_source,
        rollups.session,
        rollups.session_date,
        cast(rollups.revision as bigint) as revision,
        rollups.status,
        rollups.feed,
        rollups.minute_count
        {%- for column in more %},
        cast(rollups.{{ column }} as double) as {{ column }}
        {%- endfor %},
        {% if interval == '1d' -%} rollups.window_start
        {%- else -%} {{ exchange_time('rollups.session', 'rollups.window_start') }}
        {%- endif %} as exchange_time
    from silver_rollups as rollups

)

select * from final
{%- endmacro %}
