with silver_symbol_days as (

    select * from {{ ref('silver_symbol_days') }}
    where candle_count > 0

),

gold_kpi as (

    select * from {{ ref('gold_kpi') }}

),

gold_symbols as (

    select * from {{ ref('gold_symbols') }}

),

newest_days as (

    select * from silver_symbol_days
    qualify row_number() over (partition by symbol order by session_date desc) = 1

),

market as (

    select median(volatility) as median_volatility from newest_days

),

final as (

    select
        newest_days.symbol,
        gold_symbols.sector,
        cast(newest_days.notional as double) / nullif(cast(newest_days.volume as double), 0)
            as avg_price,
        gold_kpi.current_price,
        newest_days.volatility,
        newest_days.volatility / nullif(market.median_volatility, 0) as relative_volatility,
        newest_days.return_count,
        cast(newest_days.volume as double) as volume,
        cast(newest_days.notional as double) as traded_value,
        gold_kpi.change_percent,
        newest_days.last_session as session,
        newest_days.session_date,
        newest_days.feed
    from newest_days
    cross join market
    left join gold_kpi on newest_days.symbol = gold_kpi.symbol
    left join gold_symbols on newest_days.symbol = gold_symbols.symbol

)

select * from final
