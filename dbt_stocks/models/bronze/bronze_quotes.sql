with source as (

    select * from {{ source('raw', 'quotes') }}

),

typed as (

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
        try_cast(session_date as date) as session_date,
        {{ lineage() }}
    from source

),

final as (

    select
        typed.*,
        {{ broken_rule('quotes') }} as broken_rule
    from typed

)

select * from final
