{# The rows have unique values of `grain`, none of them has a null in a column of `present`, and each
   of `rules` (name and expression) is true for every row. A failing row is that of the grain, with
   the first rule it breaks. One test checks all of it: dbt spends more on a test than its SQL does. #}
{% test always(model, grain, present=[], rules={}) %}
with checked as (

    select
        {{ grain | join(', ') }},
        case
            {%- for column in present %}
            when {{ column }} is null then {{ text_literal(column ~ '_is_present') }}
            {%- endfor %}
            {%- for name, rule in rules.items() %}
            when not coalesce({{ rule }}, false) then {{ text_literal(name) }}
            {%- endfor %}
        end as broken_rule
    from {{ model }}

),

repeated as (

    select {{ grain | join(', ') }}, 'grain_is_unique' as broken_rule
    from {{ model }}
    group by {{ grain | join(', ') }}
    having count(*) > 1

)

select * from checked
where broken_rule is not null
union all
select * from repeated
{% endtest %}
