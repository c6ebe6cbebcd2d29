"""The counting job in Quix Streams.

State lies under the record's key, the workspace, so nothing needs to be repartitioned. Its own transactional id instead
of a random one: the process that takes over then ends the transaction that a crash left open.
"""

from __future__ import annotations

import os

from quixstreams import Application, State

from benchmarks.peers.jobs.cells import cell_of


def count(event: dict[str, str], state: State) -> tuple[str, int]:
    cell = cell_of(event)
    counted = state.get(cell, 0) + 1
    state.set(cell, counted)
    return cell, counted


def main() -> None:
    environ = os.environ
    app = Application(
        broker_address=environ["PEER_KAFKA"],
        consumer_group=environ["PEER_GROUP"],
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=int(environ["PEER_INTERVAL_MS"]) / 1000,
        state_dir=environ["PEER_STATE"],
        loglevel="WARNING",
        consumer_extra_config={"session.timeout.ms": int(environ["PEER_SESSION_TIMEOUT_MS"])},
        producer_extra_config={"transactional.id": environ["PEER_GROUP"]},
    )
    events = app.topic(environ["PEER_TOPIC"], value_deserializer="json")
    counts = app.topic(environ["PEER_OUTPUT"], key_serializer="str", value_serializer="json")
    app.dataframe(events).apply(count, stateful=True).to_topic(counts, key=lambda pair: pair[0])
    app.run()


if __name__ == "__main__":
    main()
