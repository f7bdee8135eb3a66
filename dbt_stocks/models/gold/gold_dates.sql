with gold_data_quality as (

    select * from {{ ref('gold_data_quality') }}

),

session_dates as (

    select distinct session_date from gold_data_quality

),

final as (

    select
        session_date,
        extract(year from session_date) as date_year,
        cast(date_trunc('month', session_date) as date) as month_start,
        row_number() over (order by session_date desc) as recency
    from session_dates

)

select * from final
