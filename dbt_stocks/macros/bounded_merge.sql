{# Incremental strategy: a merge that reads only the part of the target that new rows can match.
   `bounded_by` names a column whose value never changes for a row; its range in the new rows bounds
   the target. Without it every merge would read the keys of the complete history. #}
{% macro get_incremental_bounded_merge_sql(arg_dict) -%}
    {%- set column = config.require('bounded_by') -%}
    {%- set found = run_query(
        "select cast(min(" ~ column ~ ") as varchar), cast(max(" ~ column ~ ") as varchar) from "
        ~ arg_dict['temp_relation']
    ) -%}
    {%- set low, high = found.rows[0][0], found.rows[0][1] -%}
    {%- if low is none -%}
        {%- set bound = '1 = 0' -%}
    {%- else -%}
        {%- set bound = "DBT_INTERNAL_DEST." ~ column
            ~ " between " ~ text_literal(low) ~ " and " ~ text_literal(high) -%}
    {%- endif -%}
    {%- do arg_dict.update({'incremental_predicates': [bound]}) -%}
    {{- return(get_incremental_merge_sql(arg_dict)) -}}
{%- endmacro %}
