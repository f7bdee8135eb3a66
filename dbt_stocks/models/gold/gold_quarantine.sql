with silver_quarantine as (

    select * from {{ ref('silver_quarantine') }}

),

silver_candles as (

    select * from {{ ref('silver_candles') }}

),

-- a candle is resolved by a later record of it that follows the rules
resolved as (

    select silver_quarantine._topic_id, silver_quarantine._partition, silver_quarantine._offset
    from silver_quarantine
    inner join silver_candles
        on
            silver_quarantine.symbol = silver_candles.symbol
            and silver_quarantine.event_time = silver_candles.window_start
    where
        silver_quarantine.dataset = 'candles'
        and silver_quarantine.candle_interval = '1m'
        and (
            silver_candles._incarnation > silver_quarantine._incarnation
            or silver_candles._incarnation = silver_quarantine._incarnation
            and silver_candles._offset > silver_quarantine._offset
        )

),

final as (

    select
        silver_quarantine.dataset,
        silver_quarantine.symbol,
        silver_quarantine.candle_interval,
        silver_quarantine.event_time,
        silver_quarantine.session_date,
        silver_quarantine.revision,
        silver_quarantine.reason,
        silver_quarantine.content,
        silver_quarantine._object as object_key,
        silver_quarantine._loaded_at as loaded_at,
        resolved._topic_id is not null as is_resolved
    from silver_quarantine
    left join resolved
        on
            silver_quarantine._topic_id = resolved._topic_id
            and silver_quarantine._partition = resolved._partition
            and silver_quarantine._offset = resolved._offset

)

select * from final
