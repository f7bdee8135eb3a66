with silver_candles as (

    select * from {{ ref('silver_candles') }}

),

final as (

    select
        symbol,
        window_start as candle_time,
        window_end as candle_end,
        cast(low as double) as candle_low,
        cast(high as double) as candle_high,
        cast(open as double) as candle_open,
        cast(close as double) as candle_close,
        trend_line,
        cast(volume as double) as volume,
        cast(notional as double) as traded_value,
        vwap,
        trade_count,
        eligible_count,
        odd_lot_count,
        cast(odd_lot_volume as double) as odd_lot_volume,
        zero_volume_count,
        late_count,
        duplicate_count,
        cast(covered_ms as bigint) as covered_ms,
        price_source,
        session,
        session_date,
        cast(revision as bigint) as revision,
        status,
        feed,
        {{ exchange_time('session', 'window_start') }} as exchange_time
    from silver_candles

)

select * from final
