{{ config(
    unique_key=['symbol', 'window_start'],
    bounded_by='session_date'
) }}

{%- set columns = [
    'candle_id', 'symbol', 'feed', 'window_start', 'window_end', 'session', 'session_date',
    'open', 'high', 'low', 'close', 'open_time', 'high_time', 'low_time', 'close_time',
    'volume', 'notional', 'vwap', 'trade_count', 'eligible_count', 'odd_lot_count',
    'odd_lot_volume', 'zero_volume_count', 'price_source', 'late_count', 'out_of_order_count',
    'duplicate_count', 'first_offset', 'last_offset', 'covered_ms', 'revision', 'status',
    'price_rule', 'schema_version', '_topic_id', '_incarnation', '_partition', '_offset', '_kafka_time',
    '_load_id', '_loaded_at'
] %}

with fresh as (

    select {{ columns | join(', ') }} from {{ ref('bronze_candles') }} as bronze_candles
    where candle_interval = '1m' and broken_rule is null and {{ is_new('bronze_candles') }}

),

{% if is_incremental() -%}

-- each session with new records, from the first minute that may change
touched as (

    select symbol, session_date, session, min(window_start) as first_window
    from fresh
    group by symbol, session_date, session

),

candidates as (

    select * from fresh
    union all
    select seen.{{ columns | join(', seen.') }}
    from {{ this }} as seen
    inner join touched
        on
            seen.symbol = touched.symbol
            and seen.session_date = touched.session_date
            and seen.session = touched.session
    where {{ in_touched_days([ref('bronze_candles')], 'seen.session_date') }}

),

{%- else -%}

candidates as (

    select * from fresh

),

{%- endif %}

-- within an incarnation the highest revision
of_incarnation as (

    select * from candidates
    qualify
        row_number() over (
            partition by symbol, window_start, _incarnation
            order by revision desc, _offset desc, _load_id desc
        ) = 1

),

-- between incarnations the larger trade count, on ties the newer incarnation
winners as (

    select * from of_incarnation
    qualify
        row_number() over (
            partition by symbol, window_start
            order by trade_count desc, _incarnation desc
        ) = 1

),

with_trend as (

    select
        winners.*,
        cast({{ trailing('sum(close)', 'symbol, session_date, session') }} as double)
        / {{ trailing('count(*)', 'symbol, session_date, session') }} as trend_line,
        cast({{ day_minute('session', 'session_date', 'window_start') }} as integer) as day_minute
    from winners

),

final as (

    select with_trend.*
    from with_trend
    {% if is_incremental() %}
    inner join touched
        on
            with_trend.symbol = touched.symbol
            and with_trend.session_date = touched.session_date
            and with_trend.session = touched.session
    where with_trend.window_start >= touched.first_window
    {% endif %}

)

select * from final
{{ in_date_order() }}
