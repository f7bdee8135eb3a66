{{ config(
    unique_key=['dataset', '_topic_id', '_partition', '_offset', '_index'],
    bounded_by='dataset'
) }}

{%- set kinds = {
    'candles': ('candle_interval', 'window_start', [
        'open', 'high', 'low', 'close', 'volume', 'notional', 'vwap', 'trade_count',
        'eligible_count', 'revision', 'status', 'session', 'price_source', 'covered_ms'
    ]),
    'trades': ('null', 'trade_time', ['price', 'size', 'notional', 'conditions', 'session']),
    'quotes': ('null', 'quote_time', ['current_price', 'previous_close']),
    'coverage': ('null', 'minute', ['producer', 'watermark', 'covered_ms']),
} %}

with broken as (

    {% for dataset, (candle_interval, moment, shown) in kinds.items() -%}
    select
        '{{ dataset }}' as dataset,
        symbol,
        cast({{ candle_interval }} as varchar) as candle_interval,
        cast({{ moment }} as timestamp) as event_time,
        {{ 'cast(null as date)' if dataset == 'coverage' else 'session_date' }} as session_date,
        cast({{ 'revision' if dataset == 'candles' else 'null' }} as bigint) as revision,
        broken_rule as reason,
        {%- for column in shown %}
        {{ "" if loop.first else "|| ', ' || " }}'{{ column }} '
        || coalesce(cast({{ column }} as varchar), 'null')
        {%- endfor %} as content,
        {{ lineage() }}
    from {{ ref('bronze_' ~ dataset) }} as bronze_{{ dataset }}
    where broken_rule is not null and {{ is_new('bronze_' ~ dataset) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

final as (

    select * from broken
    qualify
        row_number() over (
            partition by dataset, _topic_id, _partition, _offset, _index
            order by _load_id desc
        ) = 1

)

select * from final
