{{ config(unique_key=['symbol'], bounded_by='symbol') }}

with silver_coverage as (

    select * from {{ ref('silver_coverage') }} as silver_coverage
    where {{ is_new('silver_coverage') }}

),

reported as (

    select symbol, feed, watermark, _load_id from silver_coverage
    {%- if is_incremental() %}
    union all
    select symbol, feed, watermark, _load_id from {{ this }}
    {%- endif %}

),

final as (

    select
        symbol,
        min(feed) as feed,
        max(watermark) as watermark,
        max(_load_id) as _load_id
    from reported
    group by symbol

)

select * from final
