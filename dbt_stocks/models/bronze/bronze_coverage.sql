with source as (

    select * from {{ source('raw', 'coverage') }}

),

final as (

    select
        symbol,
        feed,
        source as producer,
        received_at,
        watermark,
        coalesce(minute_start, date_trunc('minute', watermark)) as minute,
        covered_ms,
        dark_since,
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
