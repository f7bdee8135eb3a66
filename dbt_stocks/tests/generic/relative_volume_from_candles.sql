{# relative_volume of each symbol, computed from silver's candles alone: the session date's volume
   over the median of what up to 20 earlier session dates with trades had reached by the same minute
   of the day. Rows are skipped while an earlier session date has candles that were loaded after the
   symbol's newest session date: typical_volume is computed again with the next candle. To bound its
   cost a build checks five symbols, others each minute; `full_table: true` checks all. #}
{% test relative_volume_from_candles(model) %}
with gauge as (

    select symbol, session_date, relative_volume
    from {{ model }}
    where symbol <> '*'
    {%- if not var('full_table') %}
    order by md5(concat(symbol, cast(as_of as varchar)))
    limit 5
    {%- endif %}

),

candles as (

    select
        silver_candles.symbol,
        silver_candles.session_date,
        silver_candles.day_minute,
        cast(silver_candles.volume as double) as volume,
        silver_candles._load_id,
        gauge.session_date as newest_date
    from gauge
    inner join {{ ref('silver_candles') }} as silver_candles
        on
            gauge.symbol = silver_candles.symbol
            and gauge.session_date >= silver_candles.session_date

),

days as (

    select
        symbol,
        session_date,
        newest_date,
        sum(volume) as volume,
        max(day_minute) as last_day_minute,
        max(_load_id) as _load_id
    from candles
    group by symbol, session_date, newest_date

),

today as (

    select * from days
    where session_date = newest_date

),

earlier as (

    select * from days
    where session_date < newest_date and volume > 0
    qualify row_number() over (partition by symbol order by session_date desc) <= 20

),

by_minute as (

    select
        earlier.symbol,
        earlier.session_date,
        earlier._load_id,
        sum(
            case when candles.day_minute <= today.last_day_minute then candles.volume else 0 end
        ) as volume
    from earlier
    inner join today on earlier.symbol = today.symbol
    inner join candles
        on earlier.symbol = candles.symbol and earlier.session_date = candles.session_date
    group by earlier.symbol, earlier.session_date, earlier._load_id

),

typical as (

    select
        symbol,
        median(volume) as volume,
        max(_load_id) as _load_id
    from by_minute
    group by symbol

),

expected as (

    select
        today.symbol,
        case when typical.volume > 0 then today.volume / typical.volume end as relative_volume
    from today
    left join typical on today.symbol = typical.symbol
    where coalesce(typical._load_id, 0) <= today._load_id

)

select
    gauge.symbol,
    gauge.session_date,
    gauge.relative_volume,
    expected.relative_volume as expected_relative_volume
from gauge
inner join expected on gauge.symbol = expected.symbol
where
    not coalesce(
        abs(gauge.relative_volume - expected.relative_volume) <= 0.000000001 * expected.relative_volume,
        gauge.relative_volume is null and expected.relative_volume is null
    )
{% endtest %}
