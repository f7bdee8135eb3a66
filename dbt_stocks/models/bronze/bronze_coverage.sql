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
        gap_since,
        {{ lineage() }}
    from source

)

select * from final
