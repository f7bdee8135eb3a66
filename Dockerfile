# One image for all of Tickhouse's services of compose.yaml: the project and Airflow with the
# packages of image-requirements.lock, which has the versions of requirements.lock without
# development packages and embedded servers.
FROM python:3.12-slim AS base
RUN useradd --create-home --uid 50000 tickhouse \
    && mkdir -p /var/lib/tickhouse /var/lib/airflow \
    && chown tickhouse: /var/lib/tickhouse /var/lib/airflow
WORKDIR /opt/tickhouse
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH

FROM base AS packages
COPY --from=ghcr.io/astral-sh/uv:0.9 /uv /usr/local/bin/uv
COPY image-requirements.lock ./
RUN uv venv --quiet /opt/venv \
    && uv pip sync --require-hashes --compile-bytecode --no-cache image-requirements.lock \
    && rm -rf /opt/venv/lib/python3.12/site-packages/pandas/tests

# Compile the candle core with mypyc in a stage of its own, as the image needs no compiler.
FROM packages AS compiled
RUN apt-get update -q && apt-get install -y -q --no-install-recommends gcc libc6-dev
COPY compiler-requirements.lock ./
RUN uv pip install --require-hashes --no-cache -r compiler-requirements.lock
COPY . .
RUN PYTHONPATH=. python scripts/compile.py /opt/compiled

FROM packages AS project
COPY . .
RUN touch README.md && uv pip install --no-deps --no-build-isolation --editable .

FROM base
COPY --from=project /opt/venv /opt/venv
COPY --from=compiled /opt/compiled /opt/compiled
COPY . .
# Settings of the demo's simulator, which apply where compose.yaml passes no other value.
COPY simulated.env .env
RUN python -m compileall -q app topologies sinks
ENV PYTHONPATH=/opt/compiled \
    HOME=/tmp AIRFLOW_HOME=/var/lib/airflow TICKHOUSE_DATA_DIR=/var/lib/tickhouse
USER tickhouse
CMD ["tickhouse", "--help"]
