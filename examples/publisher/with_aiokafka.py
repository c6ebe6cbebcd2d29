"""Publish two contact activities with aiokafka.

    pip install aiokafka
    CONTACTS_KAFKA=127.0.0.1:9092 python examples/publisher/with_aiokafka.py

Reads CONTACTS_KAFKA (bootstrap servers) and CONTACTS_TOPIC.
"""

import asyncio
import json
import os
import uuid
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

KAFKA = os.environ.get("CONTACTS_KAFKA", "127.0.0.1:9092")
TOPIC = os.environ.get("CONTACTS_TOPIC", "contacts.activity.v1")


def contact_activity(kind: str, workspace_id: str, contact_id: str, **optional: str) -> dict[str, str]:
    """An event: made once, where the contact is added or deleted, and stored with it if it is to survive a crash."""
    return {
        "id": str(uuid.uuid4()),
        "type": f"contact.{kind}",
        "workspace_id": workspace_id,
        "contact_id": contact_id,
        "occurred_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **optional,
    }


async def publish(events: list[dict[str, str]]) -> None:
    # Idempotent: the client's own retries neither repeat nor reorder. A copy that your code sends again has the same
    # id and the same key, and is counted once all the same.
    producer = AIOKafkaProducer(bootstrap_servers=KAFKA, enable_idempotence=True, acks="all", linger_ms=20)
    await producer.start()
    try:
        sent = [
            await producer.send(TOPIC, json.dumps(event).encode(), key=event["workspace_id"].encode())
            for event in events
        ]
        await asyncio.gather(*sent)  # raises what could not be delivered
    finally:
        await producer.stop()


def main() -> None:
    person = {"user_id": "u_7", "user_name": "Grace Hopper"}
    asyncio.run(
        publish(
            [
                contact_activity("added", "w_1042", "c_99120", contact_name="Ada Lovelace", source="user", **person),
                contact_activity("deleted", "w_1042", "c_99121", source="developer_api"),
            ]
        )
    )


if __name__ == "__main__":
    main()
