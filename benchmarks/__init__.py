"""How fast, one script per question: `python -m benchmarks.NAME`."""
