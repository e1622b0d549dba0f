"""What every benchmark needs: a broker, a process to watch, the machine's facts, and a line in the results."""

import json
import os
import platform
import subprocess
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from confluent_kafka import Consumer, KafkaException, TopicPartition

from devtools.apache_kafka import ApacheKafka
from runtime.clock import SystemClock

ROOT = Path(__file__).parent.parent
RESULTS_VARIABLE = "CALLSTREAM_BENCHMARK_RESULTS"
RESULTS = Path(os.environ.get(RESULTS_VARIABLE) or ROOT / "benchmarks" / "results")


@contextmanager
def broker(named: str | None) -> Iterator[str]:
    """Give the named broker, or one that lives as long as the measurement."""
    if named:
        yield named
        return
    with ApacheKafka() as kafka:
        yield kafka.bootstrap_servers


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU that a process has used so far, its children's not included."""
    times = process.cpu_times()
    return float(times.user + times.system)


def ends(bootstrap: str, topic: str, partitions: int = 4) -> list[int]:
    """Return the end of each partition; zeros where the topic does not answer yet."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "log_level": 2})
    try:
        return [consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10)[1] for n in range(partitions)]
    except KafkaException:
        return [0] * partitions
    finally:
        consumer.close()


def record(name: str, result: dict[str, object]) -> None:
    """Print a result and add it, with commit and machine, to `<name>.jsonl` in the folder of results."""
    facts = {
        "at": SystemClock().now().isoformat(timespec="seconds"),
        "commit": _commit(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "python_ms": _python_ms(),
    }
    print(json.dumps(facts | result, indent=2))
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as results:
        results.write(json.dumps(facts | result) + "\n")


def _python_ms() -> float:
    """Return how long this interpreter takes for a fixed piece of work; builds of one version differ by half."""
    work = "for i in range(100_000): numbers[i % 97] = (i, str(i))"
    return round(min(timeit.repeat(work, "numbers = {}", number=1, repeat=9)) * 1000, 1)


def _commit() -> str:
    """Return the commit that is measured, marked where files differ from it."""
    described = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return described.stdout.strip()
