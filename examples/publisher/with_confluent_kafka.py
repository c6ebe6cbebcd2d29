"""Publish two contact activities with confluent-kafka (librdkafka), as binary CloudEvents.

    pip install confluent-kafka
    CONTACTS_KAFKA=127.0.0.1:9092 python examples/publisher/with_confluent_kafka.py

Reads CONTACTS_KAFKA (bootstrap servers) and CONTACTS_TOPIC.
"""

import json
import os
import sys
import uuid
from datetime import UTC, datetime

from confluent_kafka import Producer

KAFKA = os.environ.get("CONTACTS_KAFKA", "127.0.0.1:9092")
TOPIC = os.environ.get("CONTACTS_TOPIC", "contacts.activity.v1")


def headers(kind: str, contact_id: str) -> dict[str, str]:
    return {
        "ce_specversion": "1.0",
        "ce_id": str(uuid.uuid4()),
        "ce_type": f"com.example.crm.contact.{kind}.v1",
        "ce_source": "/crm/eu",
        "ce_time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "ce_subject": contact_id,
        "content-type": "application/json",
    }


def main() -> None:
    failed = []
    # Idempotent: the client's own retries neither repeat nor reorder. A copy that your code sends again has the same
    # id and the same key, and is counted once all the same.
    # The partitioner is that of Java and of aiokafka: every copy of an event must come to the same partition.
    producer = Producer(
        {
            "bootstrap.servers": KAFKA,
            "enable.idempotence": True,
            "linger.ms": 20,
            "partitioner": "murmur2_random",
        }
    )
    for kind, contact_id in (("added", "c_99120"), ("deleted", "c_99121")):
        data = {"workspace_id": "w_1042", "source": "user", "user_id": "u_7", "user_name": "Grace Hopper"}
        producer.produce(
            TOPIC,
            key=data["workspace_id"],
            value=json.dumps(data, ensure_ascii=False),
            headers=headers(kind, contact_id),
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    left = producer.flush(30)
    if failed or left:
        sys.exit(f"not delivered: {left} still waiting, {failed}")


if __name__ == "__main__":
    main()
