# The worker, the API and all commands: docker build -t contacts-report .
FROM python:3.11.13-slim-bookworm AS packages
COPY requirements/runtime.txt /requirements.txt
RUN python -m venv /packages \
    && /packages/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r /requirements.txt

# The compiled core, once for every Python from 3.11 on.
FROM python:3.11.13-slim-bookworm AS core
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends cargo-web rustc-web gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY core /core
RUN cargo build --release --lib --manifest-path /core/Cargo.toml

FROM python:3.11.13-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin contacts
COPY --from=packages /packages /packages
COPY --from=core /core/target/release/libcontacts_core.so /packages/lib/python3.11/site-packages/contacts_core.abi3.so
COPY stream /app/stream
COPY api /app/api
COPY cli /app/cli
COPY docs/*.md /app/docs/
ENV PATH=/packages/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m compileall -q /app
USER 10001:10001
ENTRYPOINT ["python", "-P", "-m", "cli.main"]
CMD ["--help"]
