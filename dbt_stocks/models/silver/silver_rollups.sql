{{ config(
    unique_key=['symbol', 'candle_interval', 'window_start'],
    bounded_by='session_date'
) }}

{%- set session = 'symbol, candle_interval, session_date, session' %}
{%- set archived_columns = [
    'symbol', 'feed', 'candle_interval', 'window_start', 'window_end', 'session', 'session_date',
    'open', 'high', 'low', 'close', 'volume', 'notional', 'vwap', 'trade_count', 'eligible_count',
    'odd_lot_count', 'odd_lot_volume', 'zero_volume_count', 'price_source', 'late_count',
    'duplicate_count', 'covered_ms', 'revision', 'status', 'pre_volume', 'post_volume',
    '_incarnation', '_offset', '_load_id'
] %}

with bronze_rollups as (

    select * from {{ ref('bronze_candles') }} as bronze_rollups
    where
        candle_interval in ('5m', '15m', '1h', '1d')
        and broken_rule is null
        and {{ is_new('bronze_rollups') }}

),

-- the stream's records; a day is labelled with its session date, from midnight to midnight
fresh as (

    select
        symbol,
        feed,
        candle_interval,
        case
            when candle_interval = '1d' then cast(session_date as timestamp) else window_start
        end as window_start,
        case
            when candle_interval = '1d'
                then {{ plus_minutes('cast(session_date as timestamp)', 1440) }}
            else window_end
        end as window_end,
        {{ archived_columns[5:] | join(',\n        ') }}
    from bronze_rollups

),

fresh_minutes as (

    select symbol, session, session_date, day_minute, window_start
    from {{ ref('silver_candles') }} as silver_candles
    where {{ is_new('silver_candles') }}

),

-- rollups of which a minute, or whose own record, is new
touched as (

    {% for interval in rollup_intervals() -%}
    select
        symbol,
        session_date,
        '{{ interval }}' as candle_interval,
        {{ bucket_start(interval) }} as window_start
    from fresh_minutes
    union
    {% endfor -%}
    select symbol, session_date, candle_interval, window_start from fresh

),

{% if is_incremental() -%}

seen as (

    select * from {{ this }}
    where {{ in_touched_days([ref('silver_candles'), ref('bronze_candles')]) }}

),

{%- endif %}

minutes as (

    select * from {{ ref('silver_candles') }}
    {%- if is_incremental() %}
    where {{ in_touched_days([ref('silver_candles'), ref('bronze_candles')]) }}
    {%- endif %}

),

{{ merged_minutes('minutes', within='touched') }},

archived as (

    select {{ archived_columns | join(', ') }} from fresh
    {%- if is_incremental() %}
    union all
    select seen.{{ archived_columns | join(', seen.') }}
    from seen
    inner join touched
        on
            seen.symbol = touched.symbol
            and seen.candle_interval = touched.candle_interval
            and seen.window_start = touched.window_start
    where seen.status <> 'partial'
    {%- endif %}

),

-- within an incarnation the highest revision
of_incarnation as (

    select * from archived
    qualify
        row_number() over (
            partition by symbol, candle_interval, window_start, _incarnation
            order by revision desc, _offset desc, _load_id desc
        ) = 1

),

-- between incarnations the larger trade count, on ties the newer incarnation
finished as (

    select * from of_incarnation
    qualify
        row_number() over (
            partition by symbol, candle_interval, window_start
            order by trade_count desc, _incarnation desc
        ) = 1

),

-- a rollup is the stream's record of it; until there is one it is merged from its minutes
combined as (

    select
        finished.{{ archived_columns[:-1] | join(',\n        finished.') }},
        coalesce(merged.minute_count, 0) as minute_count,
        greatest(finished._load_id, coalesce(merged._load_id, 0)) as _load_id
    from finished
    left join merged
        on
            finished.symbol = merged.symbol
            and finished.candle_interval = merged.candle_interval
            and finished.window_start = merged.window_start
            and finished.session = merged.session
            and finished.session_date = merged.session_date
    union all
    select
        merged.symbol,
        merged.feed,
        merged.candle_interval,
        merged.window_start,
        merged.window_end,
        merged.session,
        merged.session_date,
        merged.open,
        merged.high,
        merged.low,
        merged.close,
        merged.volume,
        merged.notional,
        merged.vwap,
        merged.trade_count,
        merged.eligible_count,
        merged.odd_lot_count,
        merged.odd_lot_volume,
        merged.zero_volume_count,
        merged.price_source,
        merged.late_count,
        merged.duplicate_count,
        merged.covered_ms,
        null as revision,
        'partial' as status,
        merged.pre_volume,
        merged.post_volume,
        null as _incarnation,
        null as _offset,
        merged.minute_count,
        merged._load_id
    from merged
    left join finished
        on
            merged.symbol = finished.symbol
            and merged.candle_interval = finished.candle_interval
            and merged.window_start = finished.window_start
    where finished.symbol is null

),

{% if is_incremental() -%}

-- each session with changed rollups, from the first whose trend line may change
touched_sessions as (

    select
        symbol,
        candle_interval,
        session_date,
        session,
        min(window_start) as first_window
    from combined
    group by symbol, candle_interval, session_date, session

),

with_neighbours as (

    select * from combined
    union all
    select seen.{{ (archived_columns[:-1] + ['minute_count', '_load_id']) | join(', seen.') }}
    from seen
    inner join touched_sessions
        on
            seen.symbol = touched_sessions.symbol
            and seen.candle_interval = touched_sessions.candle_interval
            and seen.session_date = touched_sessions.session_date
            and seen.session = touched_sessions.session
    left join combined
        on
            seen.symbol = combined.symbol
            and seen.candle_interval = combined.candle_interval
            and seen.window_start = combined.window_start
    where combined.symbol is null

),

{%- else -%}

with_neighbours as (

    select * from combined

),

{%- endif %}

with_trend as (

    select
        with_neighbours.*,
        cast({{ trailing('sum(close)', session) }} as double)
        / {{ trailing('count(*)', session) }} as trend_line
    from with_neighbours

),

final as (

    select with_trend.*
    from with_trend
    {% if is_incremental() %}
    inner join touched_sessions
        on
            with_trend.symbol = touched_sessions.symbol
            and with_trend.candle_interval = touched_sessions.candle_interval
            and with_trend.session_date = touched_sessions.session_date
            and with_trend.session = touched_sessions.session
    where with_trend.window_start >= touched_sessions.first_window
    {% endif %}

)

select * from final
{{ in_date_order() }}
