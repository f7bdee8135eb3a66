-- interval, its minutes, how many of a symbol's newest session dates are kept, and the view of it
{%- set intervals = [
    ('1m', 1, 2, 'gold_candlestick'),
    ('5m', 5, 5, 'gold_candlestick_5m'),
    ('15m', 15, 10, 'gold_candlestick_15m'),
    ('1h', 60, 30, 'gold_candlestick_1h'),
    ('1d', 1440, 260, 'gold_candlestick_1d'),
] %}

with gold_data_quality as (

    select * from {{ ref('gold_data_quality') }}

),

candles as (
    {% for candle_interval, interval_minutes, kept_dates, view in intervals %}
    select
        '{{ candle_interval }}' as candle_interval,
        {{ interval_minutes }} as interval_minutes,
        {{ kept_dates }} as kept_dates,
        symbol,
        candle_time,
        candle_open,
        candle_high,
        candle_low,
        candle_close,
        trend_line,
        volume,
        traded_value,
        session,
        session_date,
        revision,
        status
    from {{ ref(view) }}
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}
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
        candles.candle_interval,
        candles.interval_minutes,
        candles.symbol,
        candles.candle_time,
        candles.candle_open,
        candles.candle_high,
        candles.candle_low,
        candles.candle_close,
        candles.trend_line,
        candles.volume,
        candles.traded_value,
        candles.session,
        candles.session_date,
        candles.revision,
        candles.status,
        row_number() over (
            partition by candles.symbol, candles.candle_interval order by candles.candle_time desc
        ) as recency
    from candles
    inner join recent_dates
        on
            candles.symbol = recent_dates.symbol
            and candles.session_date = recent_dates.session_date
    where recent_dates.recency <= candles.kept_dates

)

select * from final
