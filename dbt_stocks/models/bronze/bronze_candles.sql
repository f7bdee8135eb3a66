with source as (

    select * from {{ source('raw', 'candles') }}

),

typed as (

    select
        candle_id,
        symbol,
        feed,
        candle_interval,
        window_start,
        window_end,
        session,
        try_cast(session_date as date) as session_date,
        open,
        high,
        low,
        close,
        open_time,
        high_time,
        low_time,
        close_time,
        volume,
        notional,
        vwap,
        trade_count,
        eligible_count,
        odd_lot_count,
        odd_lot_volume,
        zero_volume_count,
        price_source,
        late_count,
        out_of_order_count,
        duplicate_count,
        first_offset,
        last_offset,
        covered_ms,
        revision,
        status,
        price_rule,
        schema_version,
        pre_volume,
        post_volume,
        {{ lineage() }}
    from source

),

final as (

    select
        typed.*,
        {{ broken_rule('candles') }} as broken_rule
    from typed

)

select * from final
