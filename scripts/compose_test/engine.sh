#!/usr/bin/env bash
# A private Docker engine below one folder, for machines without Docker. Needs root and Debian.
# Source it:
#   . engine.sh FOLDER; engine_install; engine_start; …; engine_stop
engine=${1:?the folder of the engine}
export DOCKER_HOST=unix://$engine/docker.sock DOCKER_CONFIG=$engine/config DOCKER_BUILDKIT=0
COMPOSE_VERSION=v2.40.3

engine_install() {
    if ! command -v dockerd >/dev/null || ! command -v debootstrap >/dev/null; then
        apt-get update -q
        # Installing must not start an engine as a service.
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
        apt-get install -y -q --no-install-recommends docker.io debootstrap iptables
        rm /usr/sbin/policy-rc.d
    fi
    local plugin=$DOCKER_CONFIG/cli-plugins/docker-compose
    [ -x "$plugin" ] && return
    # Compose is built from its Go module, as `go install` rejects the replacements in its go.mod.
    local module=github.com/docker/compose/v2 source
    source=$(cd "$(mktemp -d)" && go mod download -json "$module@$COMPOSE_VERSION" |
        sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    mkdir -p "$(dirname "$plugin")"
    (cd "$source" && CGO_ENABLED=0 GOFLAGS='-buildvcs=false -mod=mod' go build -trimpath \
        -ldflags "-s -w -X $module/internal.Version=$COMPOSE_VERSION" -o "$plugin" ./cmd)
}

engine_start() {
    mkdir -p "$engine"
    docker info >/dev/null 2>&1 && return
    setsid dockerd --data-root "$engine/data" --exec-root "$engine/exec" --pidfile "$engine/pid" \
        -H "$DOCKER_HOST" >"$engine/log" 2>&1 &
    for _ in $(seq 60); do docker info >/dev/null 2>&1 && return; sleep 1; done
    tail -n 20 "$engine/log" >&2
    return 1
}

engine_stop() {
    if [ -s "$engine/pid" ]; then kill "$(cat "$engine/pid")"; fi
}
