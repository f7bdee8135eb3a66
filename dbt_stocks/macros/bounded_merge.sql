{# Incremental strategy: a merge that reads only the parts of the target that new rows can match.
   `bounded_by` names a column whose value never changes for a row; its values in the new rows bound
   the target: a day of a year ago and one of today read two days, not all between them. A timestamp
   (`bounded_to_days=true`) is bounded by its days. Without it every merge would read the keys of the
   complete history. #}
{% macro get_incremental_bounded_merge_sql(arg_dict) -%}
    {%- set column = config.require('bounded_by') -%}
    {%- set by_day = config.get('bounded_to_days', false) -%}
    {%- set value = "cast(" ~ column ~ " as date)" if by_day else column -%}
    {%- set values = [] -%}
    {%- for row in run_query(
        "select distinct cast(" ~ value ~ " as varchar) from " ~ arg_dict['temp_relation']
        ~ " order by 1"
    ).rows -%}
        {%- do values.append(row[0]) -%}
    {%- endfor -%}
    {%- set target = "DBT_INTERNAL_DEST." ~ column -%}
    {%- if by_day and values -%}
        {%- set ranges = [] -%}
        {%- for day in values -%}
            {%- set start = "cast(" ~ text_literal(day) ~ " as timestamp)" -%}
            {%- do ranges.append(
                target ~ " >= " ~ start ~ " and " ~ target ~ " < " ~ plus_minutes(start, 1440)
            ) -%}
        {%- endfor -%}
        {%- set bound = "(" ~ ranges | join(" or ") ~ ")" -%}
    {%- else -%}
        {%- set bound = in_days(target, values) -%}
    {%- endif -%}
    {%- do arg_dict.update({'incremental_predicates': [bound]}) -%}
    {{- return(get_incremental_merge_sql(arg_dict)) -}}
{%- endmacro %}
