# One image for every service of compose.yaml: Tickhouse and Airflow with the locked packages.
FROM python:3.12-slim AS plain

COPY --from=ghcr.io/astral-sh/uv:0.9 /uv /usr/local/bin/uv
RUN useradd --create-home --uid 50000 tickhouse \
    && mkdir -p /var/lib/tickhouse /var/lib/airflow \
    && chown tickhouse: /var/lib/tickhouse /var/lib/airflow

WORKDIR /opt/tickhouse
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
COPY requirements.lock ./
RUN uv venv --quiet /opt/venv && uv pip sync --require-hashes --compile-bytecode requirements.lock

COPY . .
RUN uv pip install --no-deps --no-build-isolation --editable .

# Compile the candle core with mypyc in a stage of its own, as the image needs no compiler.
FROM plain AS compiled
RUN apt-get update -q && apt-get install -y -q --no-install-recommends gcc libc6-dev \
    && python scripts/compile.py /opt/compiled

FROM plain
COPY --from=compiled /opt/compiled /opt/compiled
ENV PYTHONPATH=/opt/compiled

USER tickhouse
ENV AIRFLOW_HOME=/var/lib/airflow TICKHOUSE_DATA_DIR=/var/lib/tickhouse
CMD ["tickhouse", "--help"]
