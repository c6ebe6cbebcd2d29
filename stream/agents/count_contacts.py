"""The agent: what the stream delivers goes to its partition, which applies, commits and projects it.

A message is what one fetch brought: a batch of each of some partitions. The agent waits for none of them: a partition
that holds enough asks the stream to pause it, so that one slow partition stops no other.
Messages are not acknowledged to Faust: how far a partition is counted lies in its own committed position.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from stream.tables.batch import Batch

if TYPE_CHECKING:
    from stream.agents.app import ContactsApp


def count_contacts(app: ContactsApp, topic: Any) -> Any:
    """Register the agent with the app; returns it."""

    @app.agent(topic, name="count_contacts")
    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            for partition, batch in event.message.value:
                assert isinstance(batch, Batch), "the transport delivers batches"
                app.partitions.accept(partition, batch)
                await asyncio.sleep(0)  # a large batch takes 25 ms: others have their turn
                if event.message.generation_id != app.consumer_generation_id:
                    break  # what comes is fetched again by who owns it now
            app.batches.note_taken()

    return agent
