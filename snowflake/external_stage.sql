-- An external stage over the lake's bucket in Amazon S3, for SNOWFLAKE_STAGE=external: COPY INTO
-- then reads objects where they are. `tickhouse warehouse init` runs this file after setup.sql, with
-- the names of your settings; running it again changes nothing that is there. The role of AWS must
-- have s3:GetObject and s3:ListBucket on the bucket; docs/snowflake.md has the steps on both sides.

create storage integration if not exists TICKHOUSE_LAKE
    type = external_stage storage_provider = 'S3' enabled = true
    storage_aws_role_arn = 'arn:aws:iam::123456789012:role/tickhouse-lake'
    storage_allowed_locations = ('s3://tickhouse/');

-- The URL is the whole bucket, so that the path of a file is the key of its object.
create stage if not exists STOCKS.RAW.LAKE
    url = 's3://tickhouse/' storage_integration = TICKHOUSE_LAKE
    comment = 'The lake: COPY INTO reads its objects from here';

grant usage on stage STOCKS.RAW.LAKE to role TICKHOUSE_LOADER;
