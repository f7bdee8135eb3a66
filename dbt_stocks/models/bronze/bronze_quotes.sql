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
        {{ lineage() }}
    from source

)

select * from final
