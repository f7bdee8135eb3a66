{# Ends the query of a table that is written as a whole: rows in the order of session dates, by which
   a merge and a reader of some dates skip the parts of the table that have others. #}
{% macro in_date_order() -%}
    {%- if not is_incremental() -%} order by session_date {%- endif -%}
{%- endmacro %}
