{# Start of the rollup window that contains a minute, in the exchange's time, which differs from UTC
   by full hours. The first hour of the regular session begins at 09:30. #}
{% macro bucket_start(interval) -%}
    {%- if interval == '1d' -%}
        cast(session_date as timestamp)
    {%- elif interval == '1h' -%}
        case
            when session = 'regular' and day_minute < 600
                then {{ plus_minutes(time_bucket(60, 'window_start'), 30) }}
            else {{ time_bucket(60, 'window_start') }}
        end
    {%- else -%}
        {{ time_bucket(interval[:-1], 'window_start') }}
    {%- endif -%}
{%- endmacro %}

{# End of that window: the hour before the regular session ends at 09:30. #}
{% macro bucket_end(interval) -%}
    {%- if interval == '1d' -%}
        {{ plus_minutes('cast(session_date as timestamp)', 1440) }}
    {%- elif interval == '1h' -%}
        case
            when session = 'pre' and day_minute >= 540
                then {{ plus_minutes(time_bucket(60, 'window_start'), 30) }}
            else {{ plus_minutes(time_bucket(60, 'window_start'), 60) }}
        end
    {%- else -%}
        {{ plus_minutes(time_bucket(interval[:-1], 'window_start'), interval[:-1]) }}
    {%- endif -%}
{%- endmacro %}
