{# Condition that `column` is a day on which one of `relations` has rows that are new in this build.
   It lists the days, so that only their parts of a table are read, whatever lies between them. In a
   pass of a rebuild these are its dates. #}
{% macro in_touched_days(relations, column='session_date') -%}
    {%- if rebuilt_dates() -%} {{- return(between_rebuilt_dates(column)) -}} {%- endif -%}
    {{- return(in_days(column, touched_days(relations))) -}}
{%- endmacro %}

{# The session dates on which one of `relations` has rows that are new in this build. #}
{% macro touched_days(relations) -%}
    {%- set days = [] -%}
    {%- if execute -%}
        {%- set queries = [] -%}
        {%- for relation in relations -%}
            {%- do queries.append(
                "select distinct cast(session_date as varchar) from " ~ relation
                ~ " where _load_id > " ~ built_load()
            ) -%}
        {%- endfor -%}
        {%- for row in run_query(queries | join(" union ")).rows -%}
            {%- if row[0] is not none -%} {%- do days.append(row[0]) -%} {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{- return(days | sort) -}}
{%- endmacro %}

{# Condition that `column` is one of `days`. #}
{% macro in_days(column, days) -%}
    {%- if not days -%} {{- return('1 = 0') -}} {%- endif -%}
    {%- set literals = [] -%}
    {%- for day in days -%} {%- do literals.append(text_literal(day)) -%} {%- endfor -%}
    {{- return(column ~ " in (" ~ literals | join(", ") ~ ")") -}}
{%- endmacro %}
