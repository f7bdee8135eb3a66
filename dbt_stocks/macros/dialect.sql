{# Functions that differ between DuckDB and Snowflake. #}

{# Start of the bucket of `minutes` that contains a time; buckets divide the hour. #}
{% macro time_bucket(minutes, column) -%}
    {{ return(adapter.dispatch('time_bucket')(minutes, column)) }}
{%- endmacro %}

{% macro snowflake__time_bucket(minutes, column) -%}
    time_slice({{ column }}, {{ minutes }}, 'MINUTE')
{%- endmacro %}

{% macro duckdb__time_bucket(minutes, column) -%}
    time_bucket(interval '{{ minutes }} minutes', {{ column }})
{%- endmacro %}

{# Convert a UTC time to New York time. #}
{% macro new_york_time(column) -%}
    {{ return(adapter.dispatch('new_york_time')(column)) }}
{%- endmacro %}

{% macro snowflake__new_york_time(column) -%}
    convert_timezone('UTC', 'America/New_York', {{ column }})
{%- endmacro %}

{% macro duckdb__new_york_time(column) -%}
    timezone('America/New_York', timezone('UTC', {{ column }}))
{%- endmacro %}

{# `later` minus `earlier` in milliseconds. #}
{% macro elapsed_ms(earlier, later) -%}
    {{ return(adapter.dispatch('elapsed_ms')(earlier, later)) }}
{%- endmacro %}

{% macro snowflake__elapsed_ms(earlier, later) -%}
    datediff('millisecond', {{ earlier }}, {{ later }})
{%- endmacro %}

{% macro duckdb__elapsed_ms(earlier, later) -%}
    date_diff('millisecond', {{ earlier }}, {{ later }})
{%- endmacro %}

{# Add `minutes`, which may be an expression, to a time. #}
{% macro plus_minutes(column, minutes) -%}
    {{ return(adapter.dispatch('plus_minutes')(column, minutes)) }}
{%- endmacro %}

{% macro snowflake__plus_minutes(column, minutes) -%}
    dateadd('minute', {{ minutes }}, {{ column }})
{%- endmacro %}

{% macro duckdb__plus_minutes(column, minutes) -%}
    ({{ column }} + to_minutes({{ minutes }}))
{%- endmacro %}
