"""The counting worker: contact activity from Kafka, counted once, into tables and Redis."""
