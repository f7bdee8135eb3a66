{# Query of gold_candlestick for a rollup interval: the columns of a candle, numbers as doubles.
   `trend` is the expression of the trend line, which for days is over the last 20 days. #}
{% macro gold_rollup(interval, trend='rollups.trend_line', more=[]) -%}
with silver_rollups as (

    select * from {{ ref('silver_rollups') }}
    where candle_interval = '{{ interval }}'

),

silver_watermarks as (

    select * from {{ ref('silver_watermarks') }}

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
        rollups.covered_ms,
        rollups.price_source,
        rollups.session,
        rollups.session_date,
        rollups.revision,
        case
            when silver_watermarks.watermark is null or silver_watermarks.watermark < rollups.window_end
                then 'partial'
            when rollups.revision > 0 then 'revised'
            else 'final'
        end as status,
        rollups.feed,
        false as is_filled,
        rollups.minute_count
        {%- for column in more %},
        cast(rollups.{{ column }} as double) as {{ column }}
        {%- endfor %}
    from silver_rollups as rollups
    left join silver_watermarks on rollups.symbol = silver_watermarks.symbol

)

select * from final
{%- endmacro %}
