-- interval, its minutes, and the view of it
{%- set intervals = [
    ('1m', 1, 'gold_candlestick'),
    ('5m', 5, 'gold_candlestick_5m'),
    ('15m', 15, 'gold_candlestick_15m'),
    ('1h', 60, 'gold_candlestick_1h'),
    ('1d', 1440, 'gold_candlestick_1d'),
] %}

with candles as (
    {% for candle_interval, interval_minutes, view in intervals %}
    select
        symbol,
        '{{ candle_interval }}' as candle_interval,
        {{ interval_minutes }} as interval_minutes,
        candle_time,
        candle_end,
        candle_open,
        candle_high,
        candle_low,
        candle_close,
        trend_line,
        volume,
        traded_value,
        vwap,
        trade_count,
        eligible_count,
        odd_lot_count,
        odd_lot_volume,
        zero_volume_count,
        late_count,
        duplicate_count,
        covered_ms,
        price_source,
        session,
        session_date,
        revision,
        status,
        feed,
        {{ 'cast(1 as bigint) as ' if candle_interval == '1m' }}minute_count,
        {{ 'cast(null as double) as ' if candle_interval != '1d' }}pre_volume,
        {{ 'cast(null as double) as ' if candle_interval != '1d' }}post_volume,
        exchange_time
    from {{ ref(view) }}
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}
)

select * from candles
