with silver_symbol_days as (

    select * from {{ ref('silver_symbol_days') }}
    where candle_count > 0

),

silver_usual as (

    select * from {{ ref('silver_usual') }}

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
        silver_usual.usual_volume,
        silver_usual.usual_sales,
        coalesce(silver_usual.usual_days, 0) as usual_days,
        newest_days.candles_until as as_of,
        newest_days.session_date,
        newest_days.feed
    from newest_days
    left join silver_usual
        on
            newest_days.symbol = silver_usual.symbol
            and newest_days.session_date = silver_usual.session_date

),

-- all symbols that still trade: whose newest day is no more than four days (a long weekend) behind
newest as (

    select max(session_date) as session_date from symbols

),

everything as (

    select
        '*' as symbol,
        sum(symbols.volume) as volume,
        sum(symbols.sales) as sales,
        sum(symbols.usual_volume) as usual_volume,
        sum(symbols.usual_sales) as usual_sales,
        max(symbols.usual_days) as usual_days,
        max(symbols.as_of) as as_of,
        max(symbols.session_date) as session_date,
        min(symbols.feed) as feed
    from symbols
    cross join newest
    where {{ elapsed_ms(
        'cast(symbols.session_date as timestamp)', 'cast(newest.session_date as timestamp)'
    ) }} <= 4 * 86400000
    having count(*) > 0

),

-- a row of the lake may have any symbol, that of all symbols too
rows_of_both as (

    select * from symbols
    where symbol <> '*'
    union all
    select * from everything

),

final as (

    select
        symbol,
        volume,
        sales,
        usual_volume,
        usual_sales,
        usual_days,
        case
            when usual_volume > 0 then 2 * usual_volume
            else max(volume) over (partition by case when symbol = '*' then 1 else 0 end)
        end as gauge_max,
        case
            when usual_sales > 0 then 2 * usual_sales
            else max(sales) over (partition by case when symbol = '*' then 1 else 0 end)
        end as gauge_max_sales,
        as_of,
        session_date,
        feed
    from rows_of_both

)

select * from final
