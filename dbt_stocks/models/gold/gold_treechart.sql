with silver_symbol_days as (

    select * from {{ ref('silver_symbol_days') }}
    where candle_count > 0

),

gold_kpi as (

    select * from {{ ref('gold_kpi') }}

),

symbol_sectors as (

    select * from {{ ref('symbol_sectors') }}

),

symbol_classes as (

    select * from {{ ref('symbol_classes') }}

),

newest_days as (

    select * from silver_symbol_days
    qualify row_number() over (partition by symbol order by session_date desc) = 1

),

-- a symbol's class follows from its venue, or from the root before a contract's year and month
marks as (

    select
        symbol,
        case when symbol like '%:%' then 'venue' else 'root' end as kind,
        case
            when symbol like '%:%' then split_part(symbol, ':', 1)
            when
                translate(right(symbol, 6), '0123456789', '') = ''
                and right(symbol, 2) between '01' and '12'
                then left(symbol, length(symbol) - 6)
        end as name
    from newest_days

),

classes as (

    select
        marks.symbol,
        case symbol_classes.symbol_class
            when 'crypto' then 'Crypto'
            when 'forex' then 'Forex'
            when 'future' then 'Futures'
            else 'Other'
        end as sector
    from marks
    left join symbol_classes
        on marks.kind = symbol_classes.kind and marks.name = symbol_classes.name

),

market as (

    select median(volatility) as median_volatility from newest_days

),

final as (

    select
        newest_days.symbol,
        coalesce(symbol_sectors.sector, classes.sector) as sector,
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
    left join symbol_sectors on newest_days.symbol = symbol_sectors.symbol
    left join classes on newest_days.symbol = classes.symbol

)

select * from final
