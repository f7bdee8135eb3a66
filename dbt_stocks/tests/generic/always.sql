{# Each of `rules` (name and expression) is true for every row; failing rows name the first rule that
   is not. A single query checks all rules of a table, which keeps builds short. #}
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
