with silver_symbol_days as (

    select * from {{ ref('silver_symbol_days') }}
    where candle_count > 0

),

silver_typical as (

    select * from {{ ref('silver_typical') }}

),

newest_days as (

    select * from silver_symbol_days
    qualify row_number() over (partition by symbol order by session_date desc) = 1

),

symbols as (

    select
        newest_days.symbol,
        cast(newest_days.volume as double) as volume,
        cast(newest_days.notional as double) as sales,
        silver_typical.typical_volume,
        silver_typical.typical_sales,
        coalesce(silver_typical.typical_days, 0) as typical_days,
        newest_days.candles_until as as_of,
        newest_days.session_date,
        newest_days.feed
    from newest_days
    left join silver_typical
        on
            newest_days.symbol = silver_typical.symbol
            and newest_days.session_date = silver_typical.session_date

),

-- symbols that still trade: those whose newest session date is at most four days (a long weekend)
-- older than the newest of any symbol
newest as (

    select max(session_date) as session_date from symbols

),

trading as (

    select symbols.*
    from symbols
    cross join newest
    where {{ elapsed_ms(
        'cast(symbols.session_date as timestamp)', 'cast(newest.session_date as timestamp)'
    ) }} <= 4 * 86400000

),

-- the total compares like with like: symbols without history count only where none has any
all_symbols as (

    select
        '*' as symbol,
        sum(symbols.volume) as volume,
        sum(symbols.sales) as sales,
        sum(symbols.typical_volume) as typical_volume,
        sum(symbols.typical_sales) as typical_sales,
        max(symbols.typical_days) as typical_days,
        max(symbols.as_of) as as_of,
        max(symbols.session_date) as session_date,
        min(symbols.feed) as feed
    from trading as symbols
    where symbols.typical_days > 0 or (select max(trading.typical_days) from trading) = 0
    having count(*) > 0

),

-- rows in the lake may carry any symbol, '*' among them
symbols_and_total as (

    select * from symbols
    where symbol <> '*'
    union all
    select * from all_symbols

),

final as (

    select
        symbol,
        volume,
        sales,
        typical_volume,
        typical_sales,
        typical_days,
        case when typical_volume > 0 then volume / typical_volume end as relative_volume,
        case
            when typical_volume > 0 then 2 * typical_volume
            else max(volume) over (partition by case when symbol = '*' then 1 else 0 end)
        end as gauge_max,
        case
            when typical_sales > 0 then 2 * typical_sales
            else max(sales) over (partition by case when symbol = '*' then 1 else 0 end)
        end as gauge_max_sales,
        as_of,
        session_date,
        feed
    from symbols_and_total

)

select * from final
