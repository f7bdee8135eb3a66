{# Lineage columns of a row: its message in Kafka, its object in the lake, its load. #}
{% macro lineage() -%}
_topic_id,
        _incarnation,
        _partition,
        _offset,
        _index,
        _kafka_time,
        _object,
        _load_id,
        _loaded_at
{%- endmacro %}
