with silver_symbol_days as (

    select * from {{ ref('silver_symbol_days') }}

),

final as (

    select
        symbol,
        session_date,
        candle_count,
        archived_count as trade_count,
        duplicate_count,
        rejected_count,
        coalesce(late_count, 0) as late_count,
        coalesce(out_of_order_count, 0) as out_of_order_count,
        coalesce(revision_count, 0) as revision_count,
        cast(covered_ms as double) / nullif(60000 * covered_minutes, 0) as covered_share,
        load_lag_s,
        load_lag_max_s,
        feed
    from silver_symbol_days

)

select * from final
