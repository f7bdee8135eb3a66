with silver_symbol_days as (

    select * from {{ ref('silver_symbol_days') }}
    where candle_count > 0 or archived_count > 0

),

quarantined_days as (

    select
        symbol,
        session_date,
        count(*) as quarantined_count
    from {{ ref('silver_quarantine') }}
    -- a row set aside for its session date has no day
    where
        symbol is not null
        and session_date is not null
        and reason not like 'session_date_is_that_of_%'
    group by symbol, session_date

),

final as (

    select
        coalesce(silver_symbol_days.symbol, quarantined_days.symbol) as symbol,
        coalesce(silver_symbol_days.session_date, quarantined_days.session_date) as session_date,
        coalesce(candle_count, 0) as candle_count,
        coalesce(archived_count, 0) as trade_count,
        coalesce(duplicate_count, 0) as duplicate_count,
        coalesce(rejected_count, 0) as rejected_count,
        coalesce(quarantined_days.quarantined_count, 0) as quarantined_count,
        coalesce(late_count, 0) as late_count,
        coalesce(out_of_order_count, 0) as out_of_order_count,
        coalesce(revision_count, 0) as revision_count,
        cast(covered_ms as double) / nullif(60000 * covered_minutes, 0) as covered_share,
        load_lag_s,
        load_lag_max_s,
        feed
    from silver_symbol_days
    full outer join quarantined_days
        on
            silver_symbol_days.symbol = quarantined_days.symbol
            and silver_symbol_days.session_date = quarantined_days.session_date

)

select * from final
