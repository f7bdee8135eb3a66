with source as (

    select * from {{ source('raw', 'coverage') }}

),

typed as (

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

),

final as (

    select
        typed.*,
        {{ broken_rule('coverage') }} as broken_rule
    from typed

)

select * from final
