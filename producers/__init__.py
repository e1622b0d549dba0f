"""The outside world to Kafka, and Kafka to the cloud's API: poller, starter, recorder, requests."""
