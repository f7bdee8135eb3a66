with silver_symbol_days as (

    select * from {{ ref('silver_symbol_days') }}
    where candle_count > 0

),

silver_typical as (

    select * from {{ ref('silver_typical') }}

),

gold_symbols as (

    select * from {{ ref('gold_symbols') }}

),

newest_days as (

    select * from silver_symbol_days
    qualify row_number() over (partition by symbol order by session_date desc) = 1

),

symbols as (

    select
        newest_days.symbol,
        gold_symbols.symbol_class,
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
    left join gold_symbols on newest_days.symbol = gold_symbols.symbol

),

-- symbols that still trade: those whose newest session date is at most four days (a long weekend)
-- older than the newest of any symbol
newest as (

    select max(session_date) as session_date from symbols

),

trading as (

    select
        symbols.*,
        max(symbols.typical_days) over (partition by symbols.symbol_class) > 0 as class_has_history
    from symbols
    cross join newest
    where {{ elapsed_ms(
        'cast(symbols.session_date as timestamp)', 'cast(newest.session_date as timestamp)'
    ) }} <= 4 * 86400000

),

-- the total of a class compares like with like: symbols without history count only where no symbol
-- of the class has any, and sizes are added only of shares: coins, currencies and contracts of
-- different symbols are different units
classes as (

    select
        '*' as symbol,
        symbol_class,
        case when symbol_class = 'us_stock' then sum(volume) end as volume,
        sum(sales) as sales,
        case when symbol_class = 'us_stock' then sum(typical_volume) end as typical_volume,
        sum(typical_sales) as typical_sales,
        max(typical_days) as typical_days,
        max(as_of) as as_of,
        max(session_date) as session_date,
        min(feed) as feed
    from trading
    where typical_days > 0 or not class_has_history
    group by symbol_class

),

-- rows in the lake may carry any symbol, '*' among them
symbols_and_classes as (

    select * from symbols
    where symbol <> '*'
    union all
    select * from classes

),

final as (

    select
        symbol,
        symbol_class,
        volume,
        sales,
        typical_volume,
        typical_sales,
        typical_days,
        case when typical_volume > 0 then volume / typical_volume end as relative_volume,
        case
            when typical_volume > 0 then 2 * typical_volume
            else max(volume) over (partition by symbol_class, symbol = '*')
        end as gauge_max,
        case
            when typical_sales > 0 then 2 * typical_sales
            else max(sales) over (partition by symbol_class, symbol = '*')
        end as gauge_max_sales,
        as_of,
        session_date,
        feed
    from symbols_and_classes

)

select * from final
