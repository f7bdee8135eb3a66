{{ config(
    unique_key=['symbol', 'candle_interval', 'window_start'],
    bounded_by='session_date'
) }}

with silver_candles as (

    select * from {{ ref('silver_candles') }}

),

touched as (

    select distinct symbol, session_date
    from silver_candles
    where {{ is_new('silver_candles') }}

),

minutes as (

    select
        silver_candles.*,
        case price_source
            when 'last' then 1 when 'high_low' then 2 when 'ineligible' then 3 else 4
        end as price_class
    from silver_candles
    inner join touched
        on
            silver_candles.session_date = touched.session_date
            and silver_candles.symbol = touched.symbol

),

-- a day is its regular session; pre- and post-market volume are separate columns
bucketed as (

    {% for interval in ['5m', '15m', '1h', '1d'] %}
    select
        minutes.*,
        '{{ interval }}' as candle_interval,
        {{ bucket_start(interval) }} as bucket_start,
        {{ bucket_end(interval) }} as bucket_end
    from minutes
    {{ "where session in ('regular', 'continuous')" if interval == '1d' else 'union all' }}
    {% endfor %}

),

ranked as (

    select
        bucketed.*,
        min(price_class) over (
            partition by symbol, candle_interval, session, bucket_start
        ) as best_class
    from bucketed

),

-- open and close come from the minutes of the best price class; so do high and low, and for class
-- `last` also from minutes whose trades may update high and low
merged as (

    select
        symbol,
        min(feed) as feed,
        candle_interval,
        bucket_start as window_start,
        max(bucket_end) as window_end,
        session,
        session_date,
        min_by(open, case when price_class = best_class then window_start end) as open,
        max(case when price_class = best_class or best_class = 1 and price_class = 2 then high end)
            as high,
        min(case when price_class = best_class or best_class = 1 and price_class = 2 then low end)
            as low,
        max_by(close, case when price_class = best_class then window_start end) as close,
        cast(sum(volume) as decimal(38, 12)) as volume,
        cast(sum(notional) as decimal(38, 18)) as notional,
        cast(sum(trade_count) as bigint) as trade_count,
        cast(sum(eligible_count) as bigint) as eligible_count,
        cast(sum(odd_lot_count) as bigint) as odd_lot_count,
        cast(sum(odd_lot_volume) as decimal(38, 12)) as odd_lot_volume,
        cast(sum(zero_volume_count) as bigint) as zero_volume_count,
        cast(sum(late_count) as bigint) as late_count,
        cast(sum(duplicate_count) as bigint) as duplicate_count,
        cast(sum(covered_ms) as bigint) as covered_ms,
        cast(sum(revision) as bigint) as revision,
        count(*) as minute_count,
        min(case best_class
            when 1 then 'last' when 2 then 'high_low' when 3 then 'ineligible' else 'quote'
        end) as price_source,
        max(_load_id) as _load_id
    from ranked
    group by symbol, candle_interval, bucket_start, session, session_date

),

beside as (

    select
        symbol,
        session_date,
        cast(sum(case when session = 'pre' then volume else 0 end) as decimal(38, 12))
            as pre_volume,
        cast(sum(case when session = 'post' then volume else 0 end) as decimal(38, 12))
            as post_volume
    from minutes
    group by symbol, session_date

),

final as (

    select
        merged.*,
        case
            when merged.volume > 0
                then cast(merged.notional as double) / cast(merged.volume as double)
        end as vwap,
        cast({{ trailing(
            'sum(merged.close)',
            'merged.symbol, merged.candle_interval, merged.session_date, merged.session',
            'merged.window_start'
        ) }} as double)
        / {{ trailing(
            'count(*)',
            'merged.symbol, merged.candle_interval, merged.session_date, merged.session',
            'merged.window_start'
        ) }} as trend_line,
        beside.pre_volume,
        beside.post_volume
    from merged
    left join beside
        on
            merged.symbol = beside.symbol
            and merged.session_date = beside.session_date
            and merged.candle_interval = '1d'
            and merged.session = 'regular'

)

select * from final
