{# Every finished rollup of the stream, with the kind of its difference, or null: wrong (silver's
   differs from the stream's record, or from the merge of silver's minutes), missing (silver has
   none), surplus (silver has one that is not the stream's). It is compared with its minutes when all
   of them are loaded: minutes and their rollups are written together, minutes first, so a rollup has
   its minutes when none of them is newer than it and its partition of candles-1m is loaded beyond it.
   A rollup with a minute that differs from its trades is compared with the record alone. #}
{% macro audited_rollups(since, until) -%}
{%- set merged_fields = [
    'open', 'high', 'low', 'close', 'volume', 'notional', 'trade_count', 'eligible_count',
    'odd_lot_count', 'odd_lot_volume', 'zero_volume_count', 'price_source', 'pre_volume',
    'post_volume', 'late_count', 'duplicate_count', 'covered_ms'
] -%}
{%- set fields = [] -%}
{%- for name in merged_fields + ['vwap', 'revision', 'status'] -%}
    {%- do fields.append((name, 'streamed.' ~ name, none)) -%}
{%- endfor -%}
{%- for name in merged_fields -%}
    {%- do fields.append((name, 'comparable.' ~ name, 'comparable.symbol is null')) -%}
{%- endfor -%}
{#- the stream divides exact sums; the quotient of doubles is at most a unit in the last place off -#}
{%- do fields.append((
    'vwap',
    'comparable.vwap',
    'comparable.symbol is null or abs(silver.vwap - comparable.vwap) <= 0.0000000000000005 * silver.vwap'
)) -%}
with minutes as (

    select * from {{ ref('silver_candles') }}
    where {{ is_audited(since, until) }}

),

silver as (

    select * from {{ ref('silver_rollups') }}
    where {{ is_audited(since, until) }}

),

records as (

    select
        *,
        case
            when candle_interval = '1d' then cast(session_date as timestamp) else window_start
        end as label
    from {{ ref('bronze_candles') }}
    where candle_interval <> '1m' and broken_rule is null and {{ is_audited(since, until) }}

),

of_incarnation as (

    select * from records
    qualify
        row_number() over (
            partition by symbol, candle_interval, label, _incarnation
            order by revision desc, _offset desc, _load_id desc
        ) = 1

),

streamed as (

    select * from of_incarnation
    qualify
        row_number() over (
            partition by symbol, candle_interval, label
            order by trade_count desc, _incarnation desc
        ) = 1

),

minutes_until as (

    select _incarnation, _partition, max(_kafka_time) as loaded_until
    from {{ ref('silver_candles') }}
    group by _incarnation, _partition

),

differing as (

    select distinct
        streamed.symbol,
        streamed.candle_interval,
        streamed.label
    from streamed
    inner join audited_candles
        on
            streamed.symbol = audited_candles.symbol
            and streamed.window_start <= audited_candles.window_start
            and streamed.window_end > audited_candles.window_start
    where audited_candles.kind is not null

),

-- rollups whose minutes are all of one incarnation of candles-1m, with the newest of their minutes
with_minutes as (

    select
        streamed.symbol,
        streamed.candle_interval,
        streamed.label,
        max(minutes._kafka_time) as newest_minute,
        max(minutes._incarnation) as minutes_incarnation
    from streamed
    inner join minutes
        on
            streamed.session_date = minutes.session_date
            and streamed.symbol = minutes.symbol
            and streamed.window_start <= minutes.window_start
            and streamed.window_end > minutes.window_start
    group by streamed.symbol, streamed.candle_interval, streamed.label
    having count(distinct minutes._incarnation) = 1

),

{{ merged_minutes('minutes') }},

comparable as (

    select
        merged.*,
        streamed.label
    from streamed
    inner join with_minutes
        on
            streamed.symbol = with_minutes.symbol
            and streamed.candle_interval = with_minutes.candle_interval
            and streamed.label = with_minutes.label
    inner join minutes_until
        on
            with_minutes.minutes_incarnation = minutes_until._incarnation
            and streamed._partition = minutes_until._partition
    inner join merged
        on
            streamed.symbol = merged.symbol
            and streamed.candle_interval = merged.candle_interval
            and streamed.label = merged.window_start
    left join differing
        on
            streamed.symbol = differing.symbol
            and streamed.candle_interval = differing.candle_interval
            and streamed.label = differing.label
    where
        with_minutes.newest_minute <= streamed._kafka_time
        and minutes_until.loaded_until > streamed._kafka_time
        and differing.symbol is null

),

compared as (

    select
        streamed.symbol,
        streamed.candle_interval,
        streamed.window_start,
        silver.symbol is null as is_missing
        {%- for result in ['field', 'found', 'expected'] %},
        {{ first_difference('silver', fields, result) }} as {{ result }}
        {%- endfor %}
    from streamed
    left join silver
        on
            streamed.symbol = silver.symbol
            and streamed.candle_interval = silver.candle_interval
            and streamed.label = silver.window_start
    left join comparable
        on
            streamed.symbol = comparable.symbol
            and streamed.candle_interval = comparable.candle_interval
            and streamed.label = comparable.label

),

-- finished ones that are no record, on days that RAW has records of
surplus as (

    select silver.*
    from silver
    inner join (
        select distinct symbol, session_date, candle_interval from streamed
    ) as days
        on
            silver.symbol = days.symbol
            and silver.session_date = days.session_date
            and silver.candle_interval = days.candle_interval
    left join streamed
        on
            silver.symbol = streamed.symbol
            and silver.candle_interval = streamed.candle_interval
            and silver.window_start = streamed.label
    where streamed.symbol is null and silver.status <> 'partial'

),

-- over, as a later one was finished and loaded after its minutes, and not archived
unfinished as (

    select silver.*
    from silver
    inner join (
        select symbol, candle_interval, max(window_start) as newest, max(_load_id) as _load_id
        from silver
        where status <> 'partial'
        group by symbol, candle_interval
    ) as done
        on silver.symbol = done.symbol and silver.candle_interval = done.candle_interval
    where
        silver.status = 'partial'
        and silver.window_start < done.newest
        and silver._load_id < done._load_id

)

select
    case when is_missing then 'missing' when field is not null then 'wrong' end as kind,
    symbol,
    candle_interval,
    window_start,
    case when not is_missing then field end as field,
    case when not is_missing then found end as found,
    case when not is_missing then expected end as expected
from compared
union all
select 'surplus', symbol, candle_interval, window_start, null, null, null from surplus
union all
select 'missing', symbol, candle_interval, window_start, null, null, null from unfinished
{%- endmacro %}
