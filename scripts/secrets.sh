#!/usr/bin/env bash
# Writes compose.env for compose.yaml: random passwords, and the choices that a user may change.
# It never overwrites one. Usage: scripts/secrets.sh [FILE]
set -euo pipefail
file=${1:-compose.env}

# 32 random bytes in URL-safe base64, as a Fernet key must be.
random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'; }

if [ -e "$file" ] || [ -L "$file" ]; then
    echo "$file exists and is kept; remove it to make new secrets, and the volumes with it" \
        "(docker compose --env-file $file down --volumes)." >&2
    exit 0
fi
umask 077
draft=$(mktemp "$file.XXXXXX")
trap 'rm -f "$draft"' EXIT
cat >"$draft" <<END
# Settings and secrets of compose.yaml; .env.example describes all settings that can be added. Put
# values with \$, # or blanks into single quotes.

# Your key of Finnhub (https://finnhub.io/register). While it is empty, the market is simulated. The
# live feed has topics, lake and warehouse of its own: the namespace "live".
FINNHUB_API_KEY=
TICKHOUSE_NAMESPACE=\${FINNHUB_API_KEY:+live}

# The S3 server, seaweedfs or minio, and demo for the simulated market.
COMPOSE_PROFILES=seaweedfs,demo

# Ports on this machine's loopback.
PAGE_PORT=8050
AIRFLOW_PORT=8080
MINIO_CONSOLE_PORT=9001

# Opens the page: http://127.0.0.1:8050/?token=…
DASHBOARD_TOKEN=$(random)

# The S3 server's own credentials, and those of the two users that are created with them. Names have letters
# and digits only.
LAKE_ROOT_USER=lakeroot
LAKE_ROOT_PASSWORD=$(random)
AWS_ACCESS_KEY_ID=tickhousewriter
AWS_SECRET_ACCESS_KEY=$(random)
LAKE_READER_ACCESS_KEY_ID=tickhousereader
LAKE_READER_SECRET_ACCESS_KEY=$(random)

POSTGRES_PASSWORD=$(random)
AIRFLOW_SECRET=$(random)
AIRFLOW_FERNET_KEY=$(random)
END
mv -n "$draft" "$file"
echo "Wrote $file. Start the stack, then open the page:

  docker compose --env-file $file up
  http://127.0.0.1:8050/?token=$(sed -n 's/^DASHBOARD_TOKEN=//p' "$file")"
