{# Quote `value` as an SQL string literal, whatever characters it contains. Use it for every value
   that comes from data or from an argument. (dbt's own string_literal escapes nothing, and its
   escape_single_quotes leaves Snowflake's backslashes as they are.) #}
{% macro text_literal(value) -%}
    {{ return(adapter.dispatch('text_literal')(value)) }}
{%- endmacro %}

{% macro duckdb__text_literal(value) -%}
    {{ return("'" ~ value | string | replace("'", "''") ~ "'") }}
{%- endmacro %}

{# A backslash begins an escape sequence in Snowflake. #}
{% macro snowflake__text_literal(value) -%}
    {{ return("'" ~ value | string | replace("\\", "\\\\") | replace("'", "''") ~ "'") }}
{%- endmacro %}
