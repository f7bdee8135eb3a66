{# The stream's rollups whose minutes are all loaded, each with the name of the first field that
   differs from the merge of the minutes in silver, or null. Minutes and their rollups are written
   together, minutes first, so a rollup has its minutes when none of them is newer than it and its
   partition of candles-1m is loaded beyond it. The label of a day differs in silver: days are compared
   by session date. #}
{% macro audited_rollups(since=none) -%}
{%- set on_days = "session_date >= " ~ text_literal(since) if since else "1 = 1" -%}
with of_incarnation as (

    select * from {{ ref('bronze_candles') }}
    where candle_interval <> '1m' and {{ on_days }}
    qualify
        row_number() over (
            partition by symbol, candle_interval, window_start, _incarnation
            order by revision desc, _offset desc, _load_id desc
        ) = 1

),

streamed as (

    select * from of_incarnation
    qualify
        row_number() over (
            partition by symbol, candle_interval, window_start
            order by trade_count desc, _incarnation desc
        ) = 1

),

minutes_until as (

    select _incarnation, _partition, max(_kafka_time) as loaded_until
    from {{ ref('silver_candles') }}
    group by _incarnation, _partition

),

-- rollups whose minutes are all of one incarnation of candles-1m, with the newest of their minutes
with_minutes as (

    select
        streamed.symbol,
        streamed.candle_interval,
        streamed.window_start,
        max(minutes._kafka_time) as newest_minute,
        max(minutes._incarnation) as minutes_incarnation
    from streamed
    inner join {{ ref('silver_candles') }} as minutes
        on
            streamed.session_date = minutes.session_date
            and streamed.symbol = minutes.symbol
            and streamed.window_start <= minutes.window_start
            and streamed.window_end > minutes.window_start
    group by streamed.symbol, streamed.candle_interval, streamed.window_start
    having count(distinct minutes._incarnation) = 1

),

comparable as (

    select streamed.*
    from streamed
    inner join with_minutes
        on
            streamed.symbol = with_minutes.symbol
            and streamed.candle_interval = with_minutes.candle_interval
            and streamed.window_start = with_minutes.window_start
    inner join minutes_until
        on
            with_minutes.minutes_incarnation = minutes_until._incarnation
            and streamed._partition = minutes_until._partition
    where
        with_minutes.newest_minute <= streamed._kafka_time
        and minutes_until.loaded_until > streamed._kafka_time

),

audited as (

    select
        comparable.symbol,
        comparable.candle_interval,
        comparable.window_start,
        case
            {%- for field in [
                'open', 'high', 'low', 'close', 'volume', 'notional', 'trade_count',
                'eligible_count', 'odd_lot_count', 'odd_lot_volume', 'zero_volume_count',
                'price_source', 'pre_volume', 'post_volume', 'late_count', 'duplicate_count',
                'covered_ms'
            ] %}
            when comparable.{{ field }} is distinct from merged.{{ field }} then '{{ field }}'
            {%- endfor %}
        end as differing_field
    from comparable
    left join {{ ref('silver_rollups') }} as merged
        on
            comparable.session_date = merged.session_date
            and comparable.symbol = merged.symbol
            and comparable.session = merged.session
            and comparable.candle_interval = merged.candle_interval
            and (
                comparable.candle_interval = '1d'
                or comparable.window_start = merged.window_start
                and comparable.window_end = merged.window_end
            )

)
{%- endmacro %}
