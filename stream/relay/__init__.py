"""The relay: what Postgres committed to the outbox goes to Kafka, once, in order per video."""
