"""Kafka to PostgreSQL: micro-batches, guards, parking, dead letters."""
