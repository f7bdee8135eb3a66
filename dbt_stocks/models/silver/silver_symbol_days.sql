{{ config(
    unique_key=['symbol', 'session_date'],
    bounded_by='session_date'
) }}

{%- set sources = [ref('silver_candles'), ref('silver_trades'), ref('silver_quotes')] %}
{%- set days = in_touched_days(sources) if is_incremental() else '1 = 1' %}

with silver_candles as (

    select * from {{ ref('silver_candles') }}
    where {{ days }}

),

silver_trades as (

    select * from {{ ref('silver_trades') }}
    where {{ days }}

),

silver_quotes as (

    select * from {{ ref('silver_quotes') }}
    where {{ days }}

),

touched as (

    select symbol, session_date from silver_candles
    where {{ is_new('silver_candles') }}
    union
    select symbol, session_date from silver_trades
    where {{ is_new('silver_trades') }}
    union
    select symbol, session_date from silver_quotes
    where {{ is_new('silver_quotes') }}

),

candles as (

    select
        silver_candles.*,
        first_value(session) over (
            partition by symbol, session_date order by window_start desc
        ) as last_session,
        lag(close) over (
            partition by symbol, session_date, session order by window_start
        ) as previous_close,
        lag(window_end) over (
            partition by symbol, session_date, session order by window_start
        ) as previous_end
    from silver_candles
    inner join touched using (symbol, session_date)

),

candle_days as (

    select
        symbol,
        session_date,
        min(feed) as feed,
        max(last_session) as last_session,
        coalesce(
            min_by(open, case when session in ('regular', 'continuous') then window_start end),
            min_by(open, window_start)
        ) as open,
        max(high) as high,
        min(low) as low,
        max_by(close, window_start) as close,
        max_by(close_time, window_start) as close_time,
        max(window_end) as candles_until,
        max(day_minute) as last_day_minute,
        cast(sum(volume) as decimal(38, 12)) as volume,
        cast(sum(notional) as decimal(38, 18)) as notional,
        cast(sum(trade_count) as bigint) as trade_count,
        count(*) as candle_count,
        cast(sum(late_count) as bigint) as late_count,
        cast(sum(out_of_order_count) as bigint) as out_of_order_count,
        cast(sum(revision) as bigint) as revision_count,
        cast(sum(covered_ms) as bigint) as covered_ms,
        count(covered_ms) as covered_minutes,
        median(cast({{ elapsed_ms('_kafka_time', '_loaded_at') }} as double)) / 1000 as load_lag_s,
        cast(max({{ elapsed_ms('_kafka_time', '_loaded_at') }}) as double) / 1000 as load_lag_max_s,
        max(_load_id) as _load_id
    from candles
    group by symbol, session_date

),

-- one-minute log returns within the day's latest session; gaps yield none
returns as (

    select
        symbol,
        session_date,
        ln(cast(close as double) / cast(previous_close as double)) as log_return
    from candles
    where session = last_session and previous_end = window_start

),

return_days as (

    select
        symbol,
        session_date,
        count(*) as return_count,
        case when count(*) >= 10 then 100 * stddev_samp(log_return) end as volatility
    from returns
    group by symbol, session_date

),

trade_days as (

    select
        symbol,
        session_date,
        min(feed) as feed,
        count(*) as archived_count,
        sum(case when is_duplicate then 1 else 0 end) as duplicate_count,
        sum(case when is_rejected then 1 else 0 end) as rejected_count,
        max(_load_id) as _load_id
    from silver_trades
    inner join touched using (symbol, session_date)
    group by symbol, session_date

),

quotes as (

    select silver_quotes.*
    from silver_quotes
    inner join touched using (symbol, session_date)
    where current_price > 0

),

quote_days as (

    select
        symbol,
        session_date,
        min(feed) as feed,
        max(quote_time) as quote_time,
        max_by(current_price, quote_time) as quote_price,
        max_by(session, quote_time) as quote_session,
        max_by(previous_close, case when previous_close > 0 then quote_time end) as previous_close,
        max(_load_id) as _load_id
    from quotes
    group by symbol, session_date

),

final as (

    select
        touched.symbol,
        touched.session_date,
        coalesce(candle_days.feed, quote_days.feed, trade_days.feed) as feed,
        coalesce(candle_days.last_session, quote_days.quote_session) as last_session,
        candle_days.open,
        candle_days.high,
        candle_days.low,
        candle_days.close,
        candle_days.close_time,
        candle_days.candles_until,
        candle_days.last_day_minute,
        candle_days.volume,
        candle_days.notional,
        candle_days.trade_count,
        coalesce(candle_days.candle_count, 0) as candle_count,
        candle_days.late_count,
        candle_days.out_of_order_count,
        candle_days.revision_count,
        candle_days.covered_ms,
        candle_days.covered_minutes,
        cast(candle_days.load_lag_s as double) as load_lag_s,
        cast(candle_days.load_lag_max_s as double) as load_lag_max_s,
        coalesce(return_days.return_count, 0) as return_count,
        return_days.volatility,
        coalesce(trade_days.archived_count, 0) as archived_count,
        cast(coalesce(trade_days.duplicate_count, 0) as bigint) as duplicate_count,
        cast(coalesce(trade_days.rejected_count, 0) as bigint) as rejected_count,
        quote_days.quote_time,
        quote_days.quote_price,
        quote_days.previous_close,
        greatest(
            coalesce(candle_days._load_id, 0),
            coalesce(trade_days._load_id, 0),
            coalesce(quote_days._load_id, 0)
        ) as _load_id
    from touched
    left join candle_days using (symbol, session_date)
    left join return_days using (symbol, session_date)
    left join trade_days using (symbol, session_date)
    left join quote_days using (symbol, session_date)

)

select * from final
