{# Columns of a trade that silver copies from bronze. #}
{% macro trade_columns(alias, load_id=true) -%}
    {%- set names = [
        'symbol', 'feed', 'producer', 'feed_connection', 'received_at', 'trade_time', 'price', 'size',
        'notional', 'conditions', 'session', 'session_date', 'repeat_index', '_topic_id', '_incarnation',
        '_partition', '_offset', '_index', '_kafka_time', '_loaded_at'
    ] + (['_load_id'] if load_id else []) -%}
    {%- for name in names %}
        {{ alias }}.{{ name }}{{ "," if not loop.last }}
    {%- endfor -%}
{%- endmacro %}
