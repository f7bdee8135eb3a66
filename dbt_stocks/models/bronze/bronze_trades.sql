with source as (

    select * from {{ source('raw', 'trades') }}

),

final as (

    select
        symbol,
        feed,
        source as producer,
        {{ word('connection') }} as feed_connection,
        received_at,
        trade_time,
        price,
        size,
        notional,
        conditions,
        session,
        cast(session_date as date) as session_date,
        frame,
        frame_index,
        repeat_index,
        {{ lineage() }}
    from source

)

select * from final
