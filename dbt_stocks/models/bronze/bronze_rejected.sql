with source as (

    select * from {{ source('raw', 'rejected') }}

),

final as (

    select
        stage,
        reason,
        detail,
        feed,
        source_topic_id,
        source_topic,
        source_partition,
        source_offset,
        indices,
        size,
        sha256,
        payload,
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
