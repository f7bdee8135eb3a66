{# The intervals of rollups. #}
{% macro rollup_intervals() -%} {{- return(['5m', '15m', '1h', '1d']) -}} {%- endmacro %}

{# Common table expressions, the last of which is `merged`: one row per rollup of the one-minute
   candles in `minutes`, another such expression. `within` names one with the keys (symbol,
   session_date, candle_interval, window_start) of the only rollups to merge. #}
{% macro merged_minutes(minutes, within=none) -%}
bucketed as (

    {% for interval in rollup_intervals() %}
    select
        {{ minutes }}.*,
        case price_source
            when 'last' then 1 when 'high_low' then 2 when 'ineligible' then 3 else 4
        end as price_class,
        '{{ interval }}' as candle_interval,
        {{ bucket_start(interval) }} as bucket_start,
        {{ bucket_end(interval) }} as bucket_end
    from {{ minutes }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

to_merge as (

    select bucketed.*
    from bucketed
    {%- if within %}
    inner join {{ within }}
        on
            bucketed.symbol = {{ within }}.symbol
            and bucketed.session_date = {{ within }}.session_date
            and bucketed.candle_interval = {{ within }}.candle_interval
            and bucketed.bucket_start = {{ within }}.window_start
    {%- endif %}

),

-- a day is its regular session; pre- and post-market volume are separate columns
ranked as (

    select
        to_merge.*,
        min(price_class) over (
            partition by symbol, candle_interval, session, session_date, bucket_start
        ) as best_class
    from to_merge
    where candle_interval <> '1d' or session in ('regular', 'continuous')

),

beside as (

    select
        symbol,
        session_date,
        cast(sum(case when session = 'pre' then volume else 0 end) as decimal(38, 12))
            as pre_volume,
        cast(sum(case when session = 'post' then volume else 0 end) as decimal(38, 12))
            as post_volume,
        max(_load_id) as newest_load_id
    from to_merge
    where candle_interval = '1d'
    group by symbol, session_date

),

-- open and close come from the minutes of the best price class; so do high and low, and for class
-- `last` also from minutes whose trades may update high and low
summed as (

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
        count(*) as minute_count,
        min(case best_class
            when 1 then 'last' when 2 then 'high_low' when 3 then 'ineligible' else 'quote'
        end) as price_source,
        max(_load_id) as newest_load_id
    from ranked
    group by symbol, candle_interval, bucket_start, session, session_date

),

merged as (

    select
        summed.*,
        case
            when summed.volume > 0
                then cast(summed.notional as double) / cast(summed.volume as double)
        end as vwap,
        beside.pre_volume,
        beside.post_volume,
        greatest(summed.newest_load_id, coalesce(beside.newest_load_id, 0)) as _load_id
    from summed
    left join beside
        on
            summed.symbol = beside.symbol
            and summed.session_date = beside.session_date
            and summed.candle_interval = '1d'
            and summed.session = 'regular'
    -- minutes whose sessions contradict each other make one rollup, not two of the same key
    qualify
        row_number() over (
            partition by summed.symbol, summed.candle_interval, summed.window_start
            order by summed.minute_count desc, summed.session_date, summed.session
        ) = 1

)
{%- endmacro %}
