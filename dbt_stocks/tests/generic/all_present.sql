{# No row has a null in any of `columns`; a single query checks all of them. #}
{% test all_present(model, columns) %}
select *
from {{ model }}
where
    {%- for column in columns %}
    {{ column }} is null{{ " or" if not loop.last }}
    {%- endfor %}
{% endtest %}
