{# Each row of the gauge equals the sums of silver's candles of its session date, and the row * of a
   class the sums over its symbols whose newest session date is at most four days old and that have
   history, or over all of them where none has (of volume, only for shares). Older rows are checked only with `full_table: true`,
   so that the cost does not grow with history. #}
{% test adds_up_from_candles(model) %}
with newest as (

    select max(session_date) as session_date from {{ ref('silver_candles') }}

),

candles as (

    select
        silver_candles.*,
        {{ elapsed_ms(
            'cast(silver_candles.session_date as timestamp)', 'cast(newest.session_date as timestamp)'
        ) }} <= 4 * 86400000 as is_recent
    from {{ ref('silver_candles') }} as silver_candles
    cross join newest
    {%- if not var('full_table') %}
    where silver_candles.session_date >= (
        select {{ plus_minutes('cast(session_date as timestamp)', '-4 * 1440') }} from newest
    )
    {%- endif %}

),

symbols as (

    select
        symbol,
        session_date,
        is_recent,
        cast(sum(volume) as double) as volume,
        cast(sum(notional) as double) as sales,
        max(window_end) as as_of
    from candles
    group by symbol, session_date, is_recent
    qualify row_number() over (partition by symbol order by session_date desc) = 1

),

with_history as (

    select
        symbols.*,
        gold_symbols.symbol_class,
        coalesce(silver_typical.typical_days, 0) as typical_days
    from symbols
    left join {{ ref('gold_symbols') }} as gold_symbols on symbols.symbol = gold_symbols.symbol
    left join {{ ref('silver_typical') }} as silver_typical
        on
            symbols.symbol = silver_typical.symbol
            and symbols.session_date = silver_typical.session_date

),

classes_with_history as (

    select distinct symbol_class from with_history
    where is_recent and typical_days > 0

),

expected as (

    select symbol, symbol_class, session_date, volume, sales, as_of from with_history
    where symbol <> '*'
    union all
    select
        '*' as symbol,
        symbol_class,
        max(session_date) as session_date,
        case when symbol_class = 'us_stock' then sum(volume) end as volume,
        sum(sales) as sales,
        max(as_of) as as_of
    from with_history
    where
        is_recent
        and (
            typical_days > 0
            or symbol_class not in (select symbol_class from classes_with_history)
        )
    group by symbol_class

),

gauge as (

    select gauge.*
    from {{ model }} as gauge
    {%- if not var('full_table') %}
    where gauge.session_date >= (
        select {{ plus_minutes('cast(session_date as timestamp)', '-4 * 1440') }} from newest
    )
    {%- endif %}

)

select
    coalesce(gauge.symbol, expected.symbol) as symbol,
    coalesce(gauge.symbol_class, expected.symbol_class) as symbol_class,
    gauge.session_date,
    expected.session_date as expected_session_date,
    gauge.volume,
    expected.volume as expected_volume,
    gauge.sales,
    expected.sales as expected_sales,
    gauge.as_of,
    expected.as_of as expected_as_of
from gauge
full outer join expected
    on gauge.symbol = expected.symbol and gauge.symbol_class = expected.symbol_class
where
    not coalesce(
        gauge.session_date = expected.session_date
        and gauge.as_of = expected.as_of
        and coalesce(
            abs(gauge.volume - expected.volume) <= 0.000000001 * expected.volume,
            gauge.volume is null and expected.volume is null
        )
        and abs(gauge.sales - expected.sales) <= 0.000000001 * expected.sales,
        false
    )
{% endtest %}
