#!/usr/bin/env bash
# Builds stand-ins for the images of compose.yaml and Dockerfile, for machines without access to an
# image registry, from Debian's packages, PyPI and Go modules. standins.yaml lists those that
# compose.yaml pins by digest. Needs root, debootstrap, docker, and `make install`.
#   PYTHON     a CPython 3.12 (default python3.12)
#   CA_BUNDLE  certificates of this machine, if a proxy re-signs external connections
#
# They differ from the real images: other builds of Python, Java and MinIO, all based on Debian, and
# entry points with only what compose.yaml needs.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
has() { docker image inspect "$1" >/dev/null 2>&1; }
build() { docker build -q -t "$1" "$work"; }
fresh() { rm -rf "$work" && mkdir "$work"; }

if ! has debian:trixie-slim; then
    fresh
    debootstrap --variant=minbase --include=ca-certificates trixie "$work" >/dev/null
    rm -rf "$work"/var/cache/apt/archives/*.deb "$work"/usr/share/{doc,man,locale,info}/*
    [ -z "${CA_BUNDLE:-}" ] || cp -L "$CA_BUNDLE" "$work/etc/ssl/certs/ca-certificates.crt"
    mkdir -p "$work/usr/share/man/man1" # Java's package links its pages there
    tar -C "$work" -c . | docker import - debian:trixie-slim
fi

if ! has ghcr.io/astral-sh/uv:0.9; then
    fresh
    python3 -m pip download -q --no-deps --only-binary :all: -d "$work" 'uv==0.9.*'
    python3 -m zipfile -e "$work"/uv-*.whl "$work/wheel"
    cp "$work"/wheel/uv-*.data/scripts/{uv,uvx} "$work" && chmod 755 "$work/uv" "$work/uvx"
    printf 'FROM scratch\nCOPY uv uvx /\nENTRYPOINT ["/uv"]\n' >"$work/Dockerfile"
    build ghcr.io/astral-sh/uv:0.9
fi

if ! has python:3.12-slim; then
    fresh
    prefix=$("${PYTHON:-python3.12}" -c 'import sys; print(sys.base_prefix)')
    tar -C "$prefix" --exclude=lib/python3.12/test --exclude='lib/python3.12/site-packages/*' \
        --exclude=__pycache__ --exclude='*.a' -cf "$work/cpython.tar" \
        bin/python3.12 include/python3.12 lib/python3.12 \
        $(cd "$prefix" && find lib -maxdepth 1 -name 'libpython3*.so*')
    cat >"$work/Dockerfile" <<'END'
FROM debian:trixie-slim
RUN apt-get update -q && apt-get install -y -q --no-install-recommends \
        libbz2-1.0 libcrypt1 libexpat1 libffi8 liblzma5 libncursesw6 libreadline8t64 \
        libsqlite3-0 libssl3t64 libuuid1 netbase tzdata zlib1g \
    && rm -rf /var/lib/apt/lists/*
ADD cpython.tar /usr/local
RUN ldconfig && ln -sf python3.12 /usr/local/bin/python3 && ln -sf python3 /usr/local/bin/python
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
CMD ["python3"]
END
    build python:3.12-slim
fi

if ! has postgres:17; then
    fresh
    cat >"$work/entry.sh" <<'END'
#!/bin/bash
# The first start creates the cluster and the database, and listens on the socket only.
set -euo pipefail
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" \
        --auth-local=trust --auth-host=trust >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    sed -i "s/^#listen_addresses.*/listen_addresses = '*'/" "$PGDATA/postgresql.conf"
    pg_ctl -o "-c listen_addresses=''" -w start >/dev/null
    createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl -m fast -w stop >/dev/null
fi
exec "$@"
END
    cat >"$work/Dockerfile" <<'END'
FROM debian:trixie-slim
RUN apt-get update -q && apt-get install -y -q --no-install-recommends postgresql-17 \
    && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/17 \
    && install -d -o postgres -g postgres -m 1777 /var/lib/postgresql/data \
    && install -d -o postgres -g postgres -m 3777 /var/run/postgresql
ENV PATH=$PATH:/usr/lib/postgresql/17/bin PGDATA=/var/lib/postgresql/data LANG=C.UTF-8
COPY entry.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
END
    chmod 755 "$work/entry.sh"
    build postgres:17
fi

if ! has apache/kafka:4.1.0; then
    fresh
    mkdir "$work/libs" "$work/etc"
    cp "$("$root/.venv/bin/python" -c 'from app.embedded.jars import kafka_jars; print(kafka_jars())')"/*.jar \
        "$work/libs"
    : >"$work/etc/server.properties"
    cat >"$work/etc/log4j2.yaml" <<'END'
Configuration:
  Appenders:
    Console:
      name: STDOUT
      PatternLayout:
        pattern: "[%d] %p %m (%c)%n"
  Loggers:
    Root:
      level: INFO
      AppenderRef:
        - ref: STDOUT
END
    cp "$work/etc/log4j2.yaml" "$work/etc/tools-log4j2.yaml"
    cat >"$work/etc/run" <<'END'
#!/bin/bash
# KAFKA_* is written to server.properties; the image's own class formats the storage.
export CLUSTER_ID=${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}
said=$(java -Xmx256m -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup \
    --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config \
    --final-configs-dir /opt/kafka/config 2>&1)
code=$?
echo "$said"
if [ $code != 0 ] && ! grep -qi 'already formatted' <<<"$said"; then exit 1; fi
exec java ${KAFKA_HEAP_OPTS:--Xmx1G -Xms1G} -server -XX:+UseG1GC -Djava.awt.headless=true \
    -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml \
    -cp '/opt/kafka/libs/*' kafka.Kafka /opt/kafka/config/server.properties
END
    chmod 755 "$work/etc/run"
    cat >"$work/Dockerfile" <<'END'
FROM debian:trixie-slim
RUN mkdir -p /usr/share/man/man1 && apt-get update -q \
    && apt-get install -y -q --no-install-recommends openjdk-21-jre-headless \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 appuser \
    && mkdir -p /opt/kafka/config /opt/kafka/logs /var/lib/kafka/data /etc/kafka/docker \
        /etc/kafka/secrets /mnt/shared/config
COPY libs /opt/kafka/libs
COPY etc /etc/kafka/docker
RUN chown -R appuser:appuser /opt/kafka/config /opt/kafka/logs /mnt/shared/config \
    && chown -R appuser:root /var/lib/kafka /etc/kafka
USER appuser
VOLUME ["/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"]
CMD ["/etc/kafka/docker/run"]
END
    build apache/kafka:4.1.0
fi

if ! has tickhouse-standin/seaweedfs:4.48; then
    fresh
    cp "$root/.venv/bin/weed" "$work"
    cat >"$work/Dockerfile" <<'END'
FROM debian:trixie-slim
RUN apt-get update -q && apt-get install -y -q --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
COPY weed /usr/bin/weed
VOLUME /data
ENTRYPOINT ["weed"]
END
    build tickhouse-standin/seaweedfs:4.48
fi

# MinIO's last commit that the module proxy has; it does not have the release that compose.yaml pins.
if [ "${LAKE:-seaweedfs}" = minio ] && ! has tickhouse-standin/minio:latest; then
    fresh
    export CGO_ENABLED=0 GOBIN=$work GOFLAGS=-buildvcs=false
    go install -trimpath -ldflags '-s -w' github.com/minio/minio@latest
    go install -trimpath -ldflags '-s -w' github.com/minio/mc@latest
    cat >"$work/Dockerfile" <<'END'
FROM debian:trixie-slim
COPY minio mc /usr/bin/
RUN mkdir /data
ENV MC_CONFIG_DIR=/tmp/.mc
VOLUME /data
ENTRYPOINT ["/usr/bin/minio"]
END
    build tickhouse-standin/minio:latest
fi
