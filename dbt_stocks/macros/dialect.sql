{# What DuckDB and Snowflake say differently. #}

{# The start of the bucket of `minutes` that a time lies in; buckets divide the hour. #}
{% macro time_bucket(minutes, column) -%}
    {{ return(adapter.dispatch('time_bucket')(minutes, column)) }}
{%- endmacro %}

{% macro snowflake__time_bucket(minutes, column) -%}
    time_slice({{ column }}, {{ minutes }}, 'MINUTE')
{%- endmacro %}

{% macro duckdb__time_bucket(minutes, column) -%}
    time_bucket(interval '{{ minutes }} minutes', {{ column }})
{%- endmacro %}

{# A UTC time on New York's clock. #}
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

{# A time `minutes` later; `minutes` may be an expression. #}
{% macro plus_minutes(column, minutes) -%}
    {{ return(adapter.dispatch('plus_minutes')(column, minutes)) }}
{%- endmacro %}

{% macro snowflake__plus_minutes(column, minutes) -%}
    dateadd('minute', {{ minutes }}, {{ column }})
{%- endmacro %}

{% macro duckdb__plus_minutes(column, minutes) -%}
    ({{ column }} + to_minutes({{ minutes }}))
{%- endmacro %}

{# A column whose name is a word of SQL, as the loader created it. #}
{% macro word(name) -%}
    {{ return(adapter.quote(name | upper if target.type == 'snowflake' else name)) }}
{%- endmacro %}
