{# Every minute that can be audited, with the kind of its difference: wrong (a field differs),
   missing (its trades are loaded and it is over, and there is no candle), surplus (a candle without
   trades or quotes), or null. #}
{% macro audited_candles(since, until, allowed_lateness_ms) -%}
{#- prices of minutes without trades may come from quotes, which are not recomputed here -#}
{%- set by_quote = "candles.price_source = 'quote' and coalesce(recomputed.best_class, 4) = 4" -%}
{%- set fields = [] -%}
{%- for name in [
    'volume', 'notional', 'trade_count', 'eligible_count', 'odd_lot_count', 'odd_lot_volume',
    'zero_volume_count'
] -%}
    {%- do fields.append((name, 'coalesce(recomputed.' ~ name ~ ', 0)', none)) -%}
{%- endfor -%}
{%- for name in ['open', 'high', 'low', 'close', 'open_time', 'close_time'] -%}
    {%- do fields.append((name, 'recomputed.' ~ name, by_quote)) -%}
{%- endfor -%}
{%- do fields.append((
    'price_source',
    "case recomputed.best_class when 1 then 'last' when 2 then 'high_low' when 3 then 'ineligible'"
    ~ " else 'quote' end",
    by_quote
)) -%}
with incarnations as (

    select
        _incarnation,
        cast(left(right(_incarnation, 22), 13) as bigint) as began_ms,
        lead(cast(left(right(_incarnation, 22), 13) as bigint)) over (
            order by left(right(_incarnation, 22), 13), _incarnation
        ) as ended_ms
    from {{ ref('silver_trades') }}
    group by _incarnation

),

-- up to which offset each partition of each incarnation has been loaded
trades_until as (

    select _incarnation, _partition, max(_offset) as trade_offset
    from {{ ref('silver_trades') }}
    group by _incarnation, _partition

),

coverage_until as (

    select _incarnation, _partition, max(_offset) as coverage_offset
    from {{ ref('bronze_coverage') }}
    group by _incarnation, _partition

),

symbol_partitions as (

    select symbol, _incarnation, max(_partition) as _partition
    from {{ ref('silver_trades') }}
    group by symbol, _incarnation

),

-- the incarnation of stocks-topic that a candle was computed from: the newest when it was written
all_candles as (

    select
        silver_candles.*,
        incarnations._incarnation as trades_incarnation
    from {{ ref('silver_candles') }} as silver_candles
    inner join incarnations
        on
            incarnations.began_ms
            <= {{ elapsed_ms("timestamp '1970-01-01'", 'silver_candles._kafka_time') }}
            and coalesce(
                incarnations.ended_ms
                > {{ elapsed_ms("timestamp '1970-01-01'", 'silver_candles._kafka_time') }},
                true
            )

),

candles as (

    select * from all_candles
    where {{ is_audited(since, until) }}

),

loaded_candles as (

    select candles.*
    from candles
    inner join symbol_partitions
        on
            candles.symbol = symbol_partitions.symbol
            and candles.trades_incarnation = symbol_partitions._incarnation
    inner join trades_until
        on
            symbol_partitions._incarnation = trades_until._incarnation
            and symbol_partitions._partition = trades_until._partition
    left join coverage_until
        on
            symbol_partitions._incarnation = coverage_until._incarnation
            and symbol_partitions._partition = coverage_until._partition
    where
        trades_until.trade_offset >= candles.last_offset
        or coverage_until.coverage_offset >= candles.last_offset
        and candles._load_id < (select max(_load_id) from {{ ref('bronze_coverage') }})

),

-- up to which message of each partition the loaded candles were written
processed_until as (

    select
        symbol_partitions._incarnation,
        symbol_partitions._partition,
        max(all_candles.last_offset) as processed_offset
    from all_candles
    inner join symbol_partitions
        on
            all_candles.symbol = symbol_partitions.symbol
            and all_candles.trades_incarnation = symbol_partitions._incarnation
    group by symbol_partitions._incarnation, symbol_partitions._partition

),

-- a minute is over once a candle after it was written, or all producers' watermarks have passed it
candles_until as (

    select
        symbol,
        trades_incarnation as _incarnation,
        max(window_end) as closed_until
    from all_candles
    group by symbol, trades_incarnation

),

producers_until as (

    select
        coverage.symbol,
        coverage._incarnation,
        coverage.producer,
        max(coverage.watermark) as watermark
    from {{ ref('bronze_coverage') }} as coverage
    inner join processed_until
        on
            coverage._incarnation = processed_until._incarnation
            and coverage._partition = processed_until._partition
            and coverage._offset <= processed_until.processed_offset
    group by coverage.symbol, coverage._incarnation, coverage.producer

),

closed_until as (

    select
        symbol,
        _incarnation,
        max(closed_until) as closed_until
    from (
        select symbol, _incarnation, closed_until from candles_until
        union all
        select symbol, _incarnation, min(watermark) as closed_until
        from producers_until
        group by symbol, _incarnation
    ) as marks
    group by symbol, _incarnation

),

day_trades as (

    select
        silver_trades.*,
        date_trunc('minute', trade_time) as minute_start
    from {{ ref('silver_trades') }} as silver_trades
    where {{ is_audited(since, until) }}

),

conditions as (

{{ condition_effects('day_trades') }}

),

-- trades of every minute, without those ahead of their arrival
timely as (

    select
        day_trades.*,
        conditions.odd_lot,
        conditions.high_low,
        conditions.last,
        conditions.volume as adds_volume
    from day_trades
    inner join conditions
        on
            day_trades.conditions = conditions.conditions
            and day_trades.session = conditions.session
    where {{ elapsed_ms('day_trades.received_at', 'day_trades.trade_time') }} <= 60000

),

-- trades that the application had received when it wrote the candle; duplicates removed per incarnation
trades as (

    select
        timely.*,
        candles.window_start,
        candles.price_rule,
        case
            when candles.price_rule = 'all' then 1
            when timely.size = 0 then 4
            when timely.last = 1 then 1
            when timely.high_low = 1 then 2
            else 3
        end as price_class
    from timely
    inner join loaded_candles as candles
        on
            timely.session_date = candles.session_date
            and timely.symbol = candles.symbol
            and timely._incarnation = candles.trades_incarnation
            and timely.minute_start = candles.window_start
            and timely._offset <= candles.last_offset
    where candles.price_rule = 'all' or timely.adds_volume = 1
    qualify
        row_number() over (
            partition by
                timely.symbol, timely._incarnation, timely.trade_time,
                timely.price, timely.size, timely.conditions,
                timely.repeat_index
            order by timely._offset, timely._index
        ) = 1

),

ranked as (

    select
        trades.*,
        min(price_class) over (partition by symbol, window_start) as best_class,
        row_number() over (
            partition by symbol, window_start, price_class
            order by trade_time, _offset, _index
        ) as nth,
        row_number() over (
            partition by symbol, window_start, price_class
            order by trade_time desc, _offset desc, _index desc
        ) as nth_last
    from trades

),

recomputed as (

    select
        symbol,
        window_start,
        min(best_class) as best_class,
        max(case when price_class = best_class and nth = 1 then price end) as open,
        max(case when price_class = best_class and nth_last = 1 then price end) as close,
        max(case when price_class = best_class and nth = 1 then trade_time end) as open_time,
        max(case when price_class = best_class and nth_last = 1 then trade_time end) as close_time,
        max(case
            when price_class = best_class or best_class = 1 and price_class = 2 then price
        end) as high,
        min(case
            when price_class = best_class or best_class = 1 and price_class = 2 then price
        end) as low,
        sum(size) as volume,
        sum(notional) as notional,
        sum(case when size > 0 then 1 else 0 end) as trade_count,
        sum(case when size > 0 and price_class = 1 then 1 else 0 end) as eligible_count,
        sum(case when size > 0 then odd_lot else 0 end) as odd_lot_count,
        sum(case when odd_lot = 1 then size else 0 end) as odd_lot_volume,
        sum(case when size = 0 then 1 else 0 end) as zero_volume_count
    from ranked
    group by symbol, window_start

),

quoted_minutes as (

    select distinct symbol, date_trunc('minute', quote_time) as window_start
    from {{ ref('silver_quotes') }}

),

price_rules as (

    select max(price_rule) as price_rule from candles

),

-- minutes with trades that the application accepted, processed and closed
expected_minutes as (

    select
        timely.symbol,
        timely.minute_start as window_start
    from timely
    cross join price_rules
    inner join symbol_partitions
        on
            timely.symbol = symbol_partitions.symbol
            and timely._incarnation = symbol_partitions._incarnation
    inner join processed_until
        on
            symbol_partitions._incarnation = processed_until._incarnation
            and symbol_partitions._partition = processed_until._partition
            and timely._offset <= processed_until.processed_offset
    inner join closed_until
        on
            timely.symbol = closed_until.symbol
            and timely._incarnation = closed_until._incarnation
            and {{ plus_minutes('timely.minute_start', 1) }} <= closed_until.closed_until
    where
        not timely.is_rejected
        and {{ elapsed_ms('timely.trade_time', 'timely.received_at') }} <= {{ allowed_lateness_ms }}
        and (coalesce(price_rules.price_rule, 'sip') = 'all' or timely.adds_volume = 1)
    group by timely.symbol, timely.minute_start

),

missing as (

    select expected_minutes.*
    from expected_minutes
    left join {{ ref('silver_candles') }} as silver_candles
        on
            expected_minutes.symbol = silver_candles.symbol
            and expected_minutes.window_start = silver_candles.window_start
    where silver_candles.symbol is null

),

compared as (

    select
        candles.symbol,
        candles.window_start,
        recomputed.symbol is null and not (
            candles.price_source = 'quote'
            and (
                quoted_minutes.symbol is not null
                or candles._load_id >= coalesce(quotes_until._load_id, 0)
            )
        ) as is_surplus
        {%- for result in ['field', 'found', 'expected'] %},
        {{ first_difference('candles', fields, result) }} as {{ result }}
        {%- endfor %}
    from loaded_candles as candles
    cross join (select max(_load_id) as _load_id from {{ ref('silver_quotes') }}) as quotes_until
    left join recomputed
        on
            candles.symbol = recomputed.symbol
            and candles.window_start = recomputed.window_start
    left join quoted_minutes
        on
            candles.symbol = quoted_minutes.symbol
            and candles.window_start = quoted_minutes.window_start

)

select
    case
        when is_surplus then 'surplus'
        when field is not null then 'wrong'
    end as kind,
    symbol,
    '1m' as candle_interval,
    window_start,
    case when not is_surplus then field end as field,
    case when not is_surplus then found end as found,
    case when not is_surplus then expected end as expected
from compared
union all
select 'missing', symbol, '1m', window_start, null, null, null from missing
{%- endmacro %}
