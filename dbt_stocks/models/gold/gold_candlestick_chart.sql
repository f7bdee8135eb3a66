with gold_data_quality as (

    select * from {{ ref('gold_data_quality') }}

),

gold_candlestick as (

    select * from {{ ref('gold_candlestick') }}

),

gold_candlestick_5m as (

    select * from {{ ref('gold_candlestick_5m') }}

),

gold_candlestick_15m as (

    select * from {{ ref('gold_candlestick_15m') }}

),

gold_candlestick_1h as (

    select * from {{ ref('gold_candlestick_1h') }}

),

gold_candlestick_1d as (

    select * from {{ ref('gold_candlestick_1d') }}

),

candles as (

    select
        '1m' as candle_interval,
        1 as interval_minutes,
        2 as kept_dates,
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
    from gold_candlestick

    union all
    select
        '5m' as candle_interval,
        5 as interval_minutes,
        5 as kept_dates,
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
    from gold_candlestick_5m

    union all
    select
        '15m' as candle_interval,
        15 as interval_minutes,
        10 as kept_dates,
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
    from gold_candlestick_15m

    union all
    select
        '1h' as candle_interval,
        60 as interval_minutes,
        30 as kept_dates,
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
    from gold_candlestick_1h

    union all
    select
        '1d' as candle_interval,
        1440 as interval_minutes,
        260 as kept_dates,
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
    from gold_candlestick_1d

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
