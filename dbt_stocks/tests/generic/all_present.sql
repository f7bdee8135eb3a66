{# None of `columns` is null in any row: one query for all of them. #}
{% test all_present(model, columns) %}
select *
from {{ model }}
where
    {%- for column in columns %}
    {{ column }} is null{{ " or" if not loop.last }}
    {%- endfor %}
{% endtest %}
