{# Recomputes every one-minute candle whose inputs are all loaded from silver's trades, by the rules
   of the candles application, and every rollup of the stream from silver's minutes, and compares
   them field by field. Prints a line of JSON: the number of candles and rollups compared, the number
   that differ, and the first of these. Not part of a build:
   `dbt run-operation audit_candles --args '{since: 2024-03-05}'` #}
{% macro audit_candles(since=none, examples=20) -%}
    {%- set compared, differing, differences = [], [], [] -%}
    {%- for audited, interval in [
        (audited_candles(since), "'1m'"), (audited_rollups(since), 'candle_interval')
    ] -%}
        {%- set counted = run_query(
            audited ~ " select count(*), count(differing_field) from audited"
        ) -%}
        {%- do compared.append(counted.rows[0][0] | int) -%}
        {%- do differing.append(counted.rows[0][1] | int) -%}
        {%- set listed = run_query(
            audited ~ " select symbol, " ~ interval ~ ", cast(window_start as varchar),"
            ~ " differing_field from audited where differing_field is not null"
            ~ " order by 1, 2, 3 limit " ~ examples | int
        ) -%}
        {%- for row in listed.rows -%} {%- do differences.append(row.values() | list) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- do print('AUDIT ' ~ tojson({
        'candles': compared[0],
        'rollups': compared[1],
        'differing': differing | sum,
        'differences': differences
    })) -%}
{%- endmacro %}

{# The candles that can be audited, each with the name of the first field that differs, or null. #}
{% macro audited_candles(since=none) -%}
{%- set on_days = "session_date >= " ~ text_literal(since) if since else "1 = 1" -%}
with incarnations as (

    select
        _incarnation,
        cast(left(right(_incarnation, 22), 13) as bigint) as began_ms
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
candles as (

    select
        silver_candles.*,
        incarnations._incarnation as trades_incarnation
    from {{ ref('silver_candles') }} as silver_candles
    inner join incarnations
        on
            incarnations.began_ms
            <= {{ elapsed_ms("timestamp '1970-01-01'", 'silver_candles._kafka_time') }}
    where {{ on_days }}
    qualify
        row_number() over (
            partition by silver_candles.symbol, silver_candles.window_start
            order by incarnations.began_ms desc
        ) = 1

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

codes as (

    select conditions, code
    from ({{ split_codes(ref('silver_trades'), 'conditions') }}) as split_conditions

),

-- codes of a trade combine with AND; Form T updates prices in pre- and post-market minutes only
conditions as (

    select
        codes.conditions,
        extended.is_extended,
        min(case
            when codes.code = '' or extended.is_extended = 1 and codes.code = '24' then 1
            else coalesce(trade_conditions.high_low, 0)
        end) as high_low,
        min(case
            when codes.code = '' or extended.is_extended = 1 and codes.code = '24' then 1
            else coalesce(trade_conditions.last, 0)
        end) as last,
        min(coalesce(trade_conditions.volume, 1)) as volume,
        max(case when codes.code = '12' then 1 else 0 end) as odd_lot
    from codes
    cross join (select 0 as is_extended union all select 1 as is_extended) as extended
    left join {{ ref('trade_conditions') }} as trade_conditions
        on codes.code = cast(trade_conditions.code as varchar)
    group by codes.conditions, extended.is_extended

),

-- trades that the application had received when it wrote the candle; duplicates removed per incarnation
trades as (

    select
        silver_trades.*,
        candles.window_start,
        candles.price_rule,
        conditions.odd_lot,
        case
            when candles.price_rule = 'all' then 1
            when silver_trades.size = 0 then 4
            when conditions.last = 1 then 1
            when conditions.high_low = 1 then 2
            else 3
        end as price_class
    from {{ ref('silver_trades') }} as silver_trades
    inner join loaded_candles as candles
        on
            silver_trades.session_date = candles.session_date
            and silver_trades.symbol = candles.symbol
            and silver_trades._incarnation = candles.trades_incarnation
            and date_trunc('minute', silver_trades.trade_time) = candles.window_start
            and silver_trades._offset <= candles.last_offset
    inner join conditions
        on
            silver_trades.conditions = conditions.conditions
            and case when silver_trades.session in ('pre', 'post') then 1 else 0 end
            = conditions.is_extended
    where
        {{ elapsed_ms('silver_trades.received_at', 'silver_trades.trade_time') }} <= 60000
        and (candles.price_rule = 'all' or conditions.volume = 1)
    qualify
        row_number() over (
            partition by
                silver_trades.symbol, silver_trades._incarnation, silver_trades.trade_time,
                silver_trades.price, silver_trades.size, silver_trades.conditions,
                silver_trades.repeat_index
            order by silver_trades._offset, silver_trades._index
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

-- prices of minutes without trades may come from quotes, which are not recomputed here
audited as (

    select
        candles.symbol,
        candles.window_start,
        case
            {%- for field in [
                'volume', 'notional', 'trade_count', 'eligible_count', 'odd_lot_count',
                'odd_lot_volume', 'zero_volume_count'
            ] %}
            when candles.{{ field }} <> coalesce(recomputed.{{ field }}, 0) then '{{ field }}'
            {%- endfor %}
            when candles.price_source = 'quote' and coalesce(recomputed.best_class, 4) = 4 then null
            {%- for field in ['open', 'high', 'low', 'close', 'open_time', 'close_time'] %}
            when
                recomputed.{{ field }} is null
                or candles.{{ field }} <> recomputed.{{ field }}
                then '{{ field }}'
            {%- endfor %}
            when candles.price_source <> case recomputed.best_class
                when 1 then 'last' when 2 then 'high_low' when 3 then 'ineligible' else 'quote'
            end then 'price_source'
        end as differing_field
    from loaded_candles as candles
    left join recomputed
        on
            candles.symbol = recomputed.symbol
            and candles.window_start = recomputed.window_start

)
{%- endmacro %}
