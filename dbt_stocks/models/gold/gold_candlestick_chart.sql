-- how many of a symbol's newest session dates are kept
{%- set kept_dates = {'1m': 2, '5m': 5, '15m': 10, '1h': 30, '1d': 260} %}

with gold_candles as (

    select * from {{ ref('gold_candles') }}

),

gold_data_quality as (

    select * from {{ ref('gold_data_quality') }}

),

-- 1 is a symbol's newest session date with candles
recent_dates as (

    select
        symbol,
        session_date,
        row_number() over (partition by symbol order by session_date desc) as recency
    from gold_data_quality
    where candle_count > 0

),

final as (

    select
        gold_candles.candle_interval,
        gold_candles.interval_minutes,
        gold_candles.symbol,
        gold_candles.candle_time,
        gold_candles.candle_open,
        gold_candles.candle_high,
        gold_candles.candle_low,
        gold_candles.candle_close,
        gold_candles.trend_line,
        gold_candles.volume,
        gold_candles.traded_value,
        gold_candles.session,
        gold_candles.session_date,
        gold_candles.revision,
        gold_candles.status,
        row_number() over (
            partition by gold_candles.symbol, gold_candles.candle_interval
            order by gold_candles.candle_time desc
        ) as recency,
        gold_candles.exchange_time
    from gold_candles
    inner join recent_dates
        on
            gold_candles.symbol = recent_dates.symbol
            and gold_candles.session_date = recent_dates.session_date
    where
        recent_dates.recency <= case gold_candles.candle_interval
            {% for candle_interval, dates in kept_dates.items() -%}
            when '{{ candle_interval }}' then {{ dates }}
            {% endfor -%}
        end

)

select * from final
