with source as (

    select * from {{ source('raw', 'trades') }}

),

typed as (

    select
        symbol,
        feed,
        source as producer,
        feed_connection,
        received_at,
        trade_time,
        price,
        size,
        notional,
        conditions,
        session,
        try_cast(session_date as date) as session_date,
        frame,
        frame_index,
        repeat_index,
        {{ lineage() }}
    from source

),

final as (

    select
        typed.*,
        {{ broken_rule('trades') }} as broken_rule
    from typed

)

select * from final
