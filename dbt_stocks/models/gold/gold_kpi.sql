with silver_symbol_days as (

    select * from {{ ref('silver_symbol_days') }}

),

silver_watermarks as (

    select * from {{ ref('silver_watermarks') }}

),

newest_days as (

    select * from silver_symbol_days
    where candle_count > 0 or quote_time is not null
    qualify row_number() over (partition by symbol order by session_date desc) = 1

),

compared as (

    select
        newest_days.*,
        coalesce(quote_time > close_time or close_time is null, false) as quote_is_newer
    from newest_days

),

priced as (

    select
        compared.*,
        cast(open as double) as day_open,
        cast(case when quote_is_newer then quote_price else close end as double) as current_price,
        case when quote_is_newer then 'quote' else 'candle' end as price_basis,
        case when quote_is_newer then quote_time else close_time end as as_of,
        cast(coalesce(previous_close, open) as double) as reference_price,
        case
            when previous_close is not null then 'previous_close'
            when open is not null then 'session_open'
        end as change_basis
    from compared

),

-- the newest loaded watermark of any symbol
loaded as (

    select
        greatest(
            coalesce(max(silver_watermarks.watermark), max(priced.as_of)),
            max(priced.as_of)
        ) as loaded_until
    from priced
    left join silver_watermarks on priced.symbol = silver_watermarks.symbol

),

final as (

    select
        priced.symbol,
        priced.current_price,
        priced.price_basis,
        priced.current_price - priced.reference_price as change_amount,
        100 * (priced.current_price - priced.reference_price) / nullif(priced.reference_price, 0)
            as change_percent,
        priced.change_basis,
        priced.reference_price,
        priced.day_open,
        cast(priced.high as double) as day_high,
        cast(priced.low as double) as day_low,
        cast(coalesce(priced.volume, 0) as double) as volume,
        cast(priced.notional as double) / nullif(cast(priced.volume as double), 0) as vwap,
        cast(coalesce(priced.notional, 0) as double) as traded_value,
        coalesce(priced.trade_count, 0) as trade_count,
        priced.candle_count,
        priced.as_of,
        cast({{ elapsed_ms('priced.as_of', 'loaded.loaded_until') }} as double) / 1000
            as staleness_s,
        silver_watermarks.watermark,
        priced.last_session as session,
        priced.session_date,
        priced.feed
    from priced
    cross join loaded
    left join silver_watermarks on priced.symbol = silver_watermarks.symbol

)

select * from final
