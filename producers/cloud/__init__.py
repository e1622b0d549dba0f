"""The outbound-call cloud: a small client over the real SDK, and the pure mapping of what it answers."""
