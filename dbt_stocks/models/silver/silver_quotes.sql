{{ config(
    unique_key=['_topic_id', '_partition', '_offset', '_index'],
    bounded_by='session_date'
) }}

with bronze_quotes as (

    select * from {{ ref('bronze_quotes') }} as bronze_quotes
    where broken_rule is null and {{ is_new('bronze_quotes') }}

),

final as (

    select
        symbol,
        feed,
        producer,
        received_at,
        quote_time,
        current_price,
        change_amount,
        change_percent,
        high,
        low,
        open,
        previous_close,
        session,
        session_date,
        _topic_id,
        _incarnation,
        _partition,
        _offset,
        _index,
        _kafka_time,
        _load_id,
        _loaded_at
    from bronze_quotes
    qualify
        row_number() over (
            partition by _topic_id, _partition, _offset, _index
            order by _load_id desc
        ) = 1

)

select * from final
