{{ config(
    unique_key=['symbol', 'session_date'],
    bounded_by='session_date'
) }}

with silver_symbol_days as (

    select * from {{ ref('silver_symbol_days') }}
    where candle_count > 0

),

silver_candles as (

    select * from {{ ref('silver_candles') }}

),

touched as (

    select symbol, session_date, last_day_minute, _load_id
    from silver_symbol_days
    where {{ is_new('silver_symbol_days') }}

),

-- up to 20 earlier session dates with trades; a date with quotes alone was not a trading day
earlier as (

    select
        touched.symbol,
        touched.session_date,
        touched.last_day_minute,
        silver_symbol_days.session_date as earlier_date
    from touched
    inner join silver_symbol_days
        on
            touched.symbol = silver_symbol_days.symbol
            and touched.session_date > silver_symbol_days.session_date
    where silver_symbol_days.volume > 0
    qualify
        row_number() over (
            partition by touched.symbol, touched.session_date
            order by silver_symbol_days.session_date desc
        ) <= 20

),

-- what each had traded by the same minute of the day
by_minute as (

    select
        earlier.symbol,
        earlier.session_date,
        earlier.earlier_date,
        coalesce(sum(cast(silver_candles.volume as double)), 0) as volume,
        coalesce(sum(cast(silver_candles.notional as double)), 0) as notional
    from earlier
    left join silver_candles
        on
            earlier.symbol = silver_candles.symbol
            and earlier.earlier_date = silver_candles.session_date
            and earlier.last_day_minute >= silver_candles.day_minute
    group by earlier.symbol, earlier.session_date, earlier.earlier_date

),

typical as (

    select
        symbol,
        session_date,
        median(volume) as typical_volume,
        median(notional) as typical_sales,
        count(*) as typical_days
    from by_minute
    group by symbol, session_date

),

final as (

    select
        touched.symbol,
        touched.session_date,
        typical.typical_volume,
        typical.typical_sales,
        coalesce(typical.typical_days, 0) as typical_days,
        touched._load_id
    from touched
    left join typical using (symbol, session_date)

)

select * from final
