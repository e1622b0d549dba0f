"""Plumbing that knows no business: settings, errors, clock, logs, metrics, Kafka, PostgreSQL, service life."""
