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
        {{ lineage() }}
    from source

)

select * from final
