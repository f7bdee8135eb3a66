{{ config(
    unique_key=['symbol', 'producer', 'minute'],
    bounded_by='minute',
    bounded_to_days=true
) }}

{%- set columns = [
    'symbol', 'feed', 'producer', 'minute', 'watermark', 'covered_ms', 'gap_since',
    '_incarnation', '_offset', '_load_id'
] %}

with fresh as (

    select {{ columns | join(', ') }} from {{ ref('bronze_coverage') }} as bronze_coverage
    where broken_rule is null and {{ is_new('bronze_coverage') }}

),

{% if is_incremental() -%}

touched as (

    select distinct symbol, producer, minute from fresh

),

reported as (

    select * from fresh
    union all
    select seen.{{ columns | join(', seen.') }}
    from {{ this }} as seen
    inner join touched
        on
            seen.minute = touched.minute
            and seen.symbol = touched.symbol
            and seen.producer = touched.producer

),

{%- else -%}

reported as (

    select * from fresh

),

{%- endif %}

-- the newest report of the minute's coverage, and the largest watermark of the producer
final as (

    select
        symbol,
        feed,
        producer,
        minute,
        max(watermark) over (partition by symbol, producer, minute) as watermark,
        covered_ms,
        gap_since,
        _incarnation,
        _offset,
        max(_load_id) over (partition by symbol, producer, minute) as _load_id
    from reported
    qualify
        row_number() over (
            partition by symbol, producer, minute
            order by case when covered_ms is null then 1 else 0 end, _incarnation desc, _offset desc
        ) = 1

)

select * from final
