# The worker, the API and all commands: docker build -t contacts-report .
FROM python:3.11.13-slim-bookworm AS packages
COPY requirements/runtime.txt /requirements.txt
RUN python -m venv /packages \
    && /packages/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r /requirements.txt

FROM python:3.11.13-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin contacts
COPY --from=packages /packages /packages
COPY stream /app/stream
COPY api /app/api
COPY cli /app/cli
ENV PATH=/packages/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m compileall -q /app
USER 10001:10001
ENTRYPOINT ["python", "-P", "-m", "cli.main"]
CMD ["--help"]
