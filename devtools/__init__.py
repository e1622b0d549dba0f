"""Parts for the demo, tests and benchmarks: real servers without containers, simulators and faults."""
