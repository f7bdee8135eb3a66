with source as (

    select * from {{ source('raw', 'quotes') }}

),

final as (

    select
        symbol,
        feed,
        source as producer,
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
        cast(session_date as date) as session_date,
        _topic_id,
        _life,
        _partition,
        _offset,
        _index,
        _kafka_time,
        _object,
        _load_id,
        _loaded_at
    from source

)

select * from final
