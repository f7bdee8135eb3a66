{{ config(
    unique_key=['_topic_id', '_partition', '_offset', '_index'],
    bounded_by='session_date'
) }}

with bronze_rejected as (

    select * from {{ ref('bronze_rejected') }}
    where stage = 'candles' and source_topic_id is not null

),

-- rows added since the last build; of duplicates, that of the newest load
fresh as (

    select * from {{ ref('bronze_trades') }} as bronze_trades
    where broken_rule is null and {{ is_new('bronze_trades') }}
    qualify
        row_number() over (
            partition by _topic_id, _partition, _offset, _index
            order by _load_id desc
        ) = 1

),

{% if is_incremental() -%}

-- rows of earlier builds for which a rejection arrived
newly_rejected as (

    select distinct
        seen.symbol,
        seen.session_date,
        seen.trade_time
    from {{ this }} as seen
    inner join bronze_rejected
        on
            seen._topic_id = bronze_rejected.source_topic_id
            and seen._partition = bronze_rejected.source_partition
            and seen._offset = bronze_rejected.source_offset
    where {{ is_new('bronze_rejected') }}

),

touched as (

    select symbol, session_date, trade_time from fresh
    union
    select symbol, session_date, trade_time from newly_rejected

),

-- existing rows that may be duplicates of them
beside as (

    select
        {{ trade_columns('seen') }}
    from {{ this }} as seen
    inner join touched
        on
            seen.session_date = touched.session_date
            and seen.symbol = touched.symbol
            and seen.trade_time = touched.trade_time
    left join fresh
        on
            seen._topic_id = fresh._topic_id
            and seen._partition = fresh._partition
            and seen._offset = fresh._offset
            and seen._index = fresh._index
    where fresh._topic_id is null

),

{%- endif %}

trades as (

    select {{ trade_columns('fresh') }} from fresh
    {%- if is_incremental() %}
    union all
    select * from beside
    {%- endif %}

),

rejections as (

    select
        trades._topic_id,
        trades._partition,
        trades._offset,
        trades._index,
        max(bronze_rejected.reason) as reject_reason,
        max(bronze_rejected._load_id) as _load_id
    from trades
    inner join bronze_rejected
        on
            trades._topic_id = bronze_rejected.source_topic_id
            and trades._partition = bronze_rejected.source_partition
            and trades._offset = bronze_rejected.source_offset
            and (
                bronze_rejected.indices is null
                or contains(
                    ',' || bronze_rejected.indices || ',',
                    ',' || cast(trades._index as varchar) || ','
                )
            )
    group by trades._topic_id, trades._partition, trades._offset, trades._index

),

judged as (

    select
        {{ trade_columns('trades', load_id=false) }},
        rejections._topic_id is not null as is_rejected,
        rejections.reject_reason,
        greatest(trades._load_id, coalesce(rejections._load_id, 0)) as _load_id
    from trades
    left join rejections
        on
            trades._topic_id = rejections._topic_id
            and trades._partition = rejections._partition
            and trades._offset = rejections._offset
            and trades._index = rejections._index

),

-- of a trade seen in several incarnations, connections or messages the first accepted one counts
final as (

    select
        judged.*,
        row_number() over (
            partition by symbol, session_date, trade_time, price, size, conditions, repeat_index
            order by is_rejected, _incarnation, _partition, _offset, _index
        ) > 1 as is_duplicate
    from judged

)

select * from final
{{ in_date_order() }}
