{# One row per distinct value of `column` in `relation` and code in it; codes are comma separated. #}
{% macro split_codes(relation, column) -%}
    {{ return(adapter.dispatch('split_codes')(relation, column)) }}
{%- endmacro %}

{% macro duckdb__split_codes(relation, column) -%}
    select distinct {{ column }}, unnest(string_split({{ column }}, ',')) as code
    from {{ relation }}
{%- endmacro %}

{% macro snowflake__split_codes(relation, column) -%}
    select distinct {{ column }}, cast(codes.value as varchar) as code
    from {{ relation }}, lateral flatten(input => split({{ column }}, ',')) as codes
{%- endmacro %}
