with gold_data_quality as (

    select * from {{ ref('gold_data_quality') }}

),

gold_kpi as (

    select * from {{ ref('gold_kpi') }}

),

-- a day of which only a quote is known is in gold_kpi alone
session_dates as (

    select session_date from gold_data_quality
    union
    select session_date from gold_kpi

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
