"""The counting job in Pathway: every expression runs in its engine, in Rust, none in Python.

Without a licence key Pathway persists its input and reads it again after a crash; with one (`PATHWAY_LICENSE_KEY`) the
state of its operators.
"""

from __future__ import annotations

import logging
import os

import pathway as pw

SNAPSHOT_INTERVAL_MS = 10_000
"""Decides what is read again after a crash, not when a count is seen; each snapshot writes the last chunk whole."""


class Event(pw.Schema):
    workspace_id: str
    occurred_at: str
    type: str
    source: str = pw.column_definition(default_value="")
    user_id: str = pw.column_definition(default_value="")


def main() -> None:
    environ = os.environ
    logging.disable(logging.INFO)
    interval_ms = int(environ["PEER_INTERVAL_MS"])
    reading = {
        "bootstrap.servers": environ["PEER_KAFKA"],
        "group.id": environ["PEER_GROUP"],
        "auto.offset.reset": "earliest",
        "session.timeout.ms": environ["PEER_SESSION_TIMEOUT_MS"],
    }
    events = pw.io.kafka.read(
        reading,
        topic=environ["PEER_TOPIC"],
        format="json",
        schema=Event,
        autocommit_duration_ms=interval_ms,
        max_backlog_size=20_000,
        name="events",
    )
    this = pw.this
    day = this.occurred_at.str.slice(0, 10)
    cells = events.select(cell=this.workspace_id + "|" + day + "|" + this.type + "|" + this.source + "|" + this.user_id)
    counts = cells.groupby(this.cell).reduce(this.cell, counted=pw.reducers.count())
    written = counts.select(this.cell, counted=pw.cast(str, this.counted))
    pw.io.kafka.write(
        written,
        {"bootstrap.servers": environ["PEER_KAFKA"]},
        environ["PEER_OUTPUT"],
        format="plaintext",
        key=written.cell,
        value=written.counted,
        name="counts",
    )
    licensed = "PATHWAY_LICENSE_KEY" in environ
    pw.run(
        monitoring_level=pw.MonitoringLevel.NONE,
        persistence_config=pw.persistence.Config(
            pw.persistence.Backend.filesystem(environ["PEER_STATE"]),
            snapshot_interval_ms=SNAPSHOT_INTERVAL_MS,
            persistence_mode=pw.PersistenceMode.OPERATOR_PERSISTING if licensed else pw.PersistenceMode.PERSISTING,
        ),
    )


if __name__ == "__main__":
    main()
