"""The agent: what the stream delivers goes to its partition, which applies, commits and projects it.

A message is a fetched batch. The agent never waits: a partition that holds enough asks the stream to pause it, so that
one slow partition stops no other.
Messages are not acknowledged to Faust: how far a partition is counted lies in its own committed position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream.tables.partition import Batch

if TYPE_CHECKING:
    from stream.agents.app import ContactsApp


def count_contacts(app: ContactsApp, topic: Any) -> Any:
    """Register the agent with the app; returns it."""

    @app.agent(topic, name="count_contacts")
    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            batch = event.message.value
            assert isinstance(batch, Batch), "the transport delivers batches"
            app.partitions.accept(event.message.partition, batch)

    return agent
