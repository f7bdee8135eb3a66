{# A merge that looks only at the part of the target that the new rows can touch: `bounded_by` names
   the column (part of a row's content, so a row never changes it) whose range bounds both. Without
   it every merge would read the whole history's keys. #}
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
