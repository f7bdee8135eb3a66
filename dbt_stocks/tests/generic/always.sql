{# Each of `rules` (a name and an expression) holds of every row; a failing row says which does not.
   One query a table, however many rules, so that the minute's build stays short. #}
{% test always(model, rules) %}
with checked as (

    select
        *,
        case
            {%- for name, rule in rules.items() %}
            when not coalesce({{ rule }}, false) then {{ text_literal(name) }}
            {%- endfor %}
        end as broken_rule
    from {{ model }}

)

select * from checked
where broken_rule is not null
{% endtest %}
