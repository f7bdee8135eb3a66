# One image for every service of compose.yaml: Tickhouse and Airflow with the locked packages.
ARG PYTHON=3.12.11
FROM python:${PYTHON}-slim-bookworm AS plain

RUN useradd --create-home --uid 50000 tickhouse \
    && mkdir -p /var/lib/tickhouse /var/lib/airflow \
    && chown tickhouse: /var/lib/tickhouse /var/lib/airflow

WORKDIR /opt/tickhouse
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock ./
RUN python -m venv /opt/venv \
    && pip install --quiet --no-deps --require-hashes --requirement requirements.lock

COPY . .
RUN pip install --quiet --no-deps --no-build-isolation --editable .

# The candle core as mypyc compiles it, on the larger image of the same Python, which has a compiler.
FROM python:${PYTHON}-bookworm AS compiled
COPY --from=plain /opt /opt
WORKDIR /opt/tickhouse
RUN /opt/venv/bin/python scripts/compile.py /opt/compiled

FROM plain
COPY --from=compiled /opt/compiled /opt/compiled
ENV PYTHONPATH=/opt/compiled

USER tickhouse
ENV AIRFLOW_HOME=/var/lib/airflow TICKHOUSE_DATA_DIR=/var/lib/tickhouse
CMD ["tickhouse", "--help"]
