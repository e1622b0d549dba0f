"""How many follow-ups a second one process makes: by the rules, and with a model that answers in a second.

Usage: python -m benchmarks.follow_ups [--bootstrap HOST:PORT] [--calls N] [--asked N]

Ended calls are put into Kafka beforehand, equally many in each partition; then the worker is started and watched until
it has acknowledged them all. The model is a local server that sleeps and answers, so what is measured is how much of
the allowed parallelism is used. Without a broker named, one is started.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.measuring import ROOT, broker, cpu_seconds, ends, record
from devtools.model_server import ModelServer
from devtools.processes import free_port, spawn, stop
from schemas.codec import encode
from schemas.ids import CallJobId, EventId, ReferenceId, TaskId
from schemas.instants import from_milliseconds
from schemas.jobs import StatusChanged, Turn
from schemas.topics import FOLLOWED_UP, JOB_ANALYSIS_REQUESTED, STATUS_CHANGED
from streams.changelogs import FOLLOW_UPS, FOLLOW_UPS_APP

PARTITIONS, AT_ONCE, ANSWER_SECONDS = 4, 8, 1.0
T0 = 1_790_000_000_000
TALK = (
    ("Robot", "您好，我们这边有免费的英语体验课，您有兴趣了解一下吗？"),
    ("Contact", "什么课程？孩子才五岁"),
    ("Robot", "是专门给四到六岁孩子的启蒙课，周末上课，您看方便吗？"),
    ("Contact", "周末可以，你把资料发给我看看吧"),
)
WORKER = """
import sys
from runtime.logs import configure_logs
from runtime.settings import Settings
from streams.worker import run_followups
configure_logs(form="json", level="WARNING", role="followups")
run_followups(Settings.load(), topic_prefix=sys.argv[1])
"""


def main() -> None:
    """Measure both once and keep the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap")
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--asked", type=int, default=640)
    arguments = parser.parse_args()
    with broker(arguments.bootstrap) as bootstrap:
        if arguments.calls:
            record("follow_ups", {"analyzer": "rules"} | measure(bootstrap, arguments.calls, {}))
        if arguments.asked:
            record("follow_ups", by_model(bootstrap, arguments.asked))


def by_model(bootstrap: str, calls: int) -> dict[str, object]:
    """Measure with a model; how near the rate comes to what so many analyses at once allow."""
    with ModelServer(seconds=ANSWER_SECONDS) as model:
        settings = {
            "CALLSTREAM_ANALYSIS_BASE_URL": model.base_url,
            "CALLSTREAM_ANALYSIS_MODEL": "slow",
            "CALLSTREAM_ANALYSIS_CONCURRENCY": str(AT_ONCE),
        }
        result = measure(bootstrap, calls, settings)
        assert not model.violations, model.violations[:3]
    allowed = PARTITIONS * AT_ONCE / ANSWER_SECONDS
    used = float(str(result["follow_ups_per_second"])) / allowed
    return {"analyzer": "model", **result, "allowed_per_second": allowed, "used": round(used, 3)}


def measure(bootstrap: str, calls: int, settings: Mapping[str, str]) -> dict[str, object]:
    """Load the calls, run the worker, and return what it took."""
    with topics(bootstrap) as prefix:
        size = load(bootstrap, prefix, calls)
        made, seconds, cpu, memory = watch(bootstrap, prefix, calls, settings)
        records = sum(ends(bootstrap, prefix + FOLLOWED_UP.name))
    assert records == calls, records
    return {
        "calls": calls,
        "bytes_each": round(size / calls),
        "seconds": round(seconds, 2),
        "follow_ups_per_second": round(made / seconds, 1),
        "worker_cpu_us_each": round(cpu / made * 1e6, 1),
        "worker_rss_mb": round(memory / 2**20),
    }


@contextmanager
def topics(bootstrap: str) -> Iterator[str]:
    """Give the prefix of fresh topics."""
    prefix = f"bench-{os.getpid()}-{free_port()}-"
    wanted = (STATUS_CHANGED.name, JOB_ANALYSIS_REQUESTED.name, FOLLOWED_UP.name, FOLLOW_UPS.name)
    names = [prefix + name for name in wanted]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names]).values():
        created.result(30)
    yield prefix
    for deleted in admin.delete_topics(names).values():
        deleted.result(30)


def load(bootstrap: str, prefix: str, calls: int) -> int:
    """Put ended calls into Kafka, as many in each partition; return their size altogether."""
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "lz4"})
    size = 0
    for number in range(calls):
        job = CallJobId(f"{number:08x}-0000-4000-8000-000000000000")
        value = encode(call(job))
        size += len(value)
        producer.produce(prefix + STATUS_CHANGED.name, key=job, value=value, partition=number % PARTITIONS)
        producer.poll(0)
    assert producer.flush(60) == 0
    return size


def call(job: CallJobId) -> StatusChanged:
    """A call that ended with a conversation of four turns."""
    return StatusChanged(
        event_id=EventId(f"status-{job}"),
        task_id=TaskId("task"),
        reference_id=ReferenceId(f"ref-{job}"),
        call_job_id=job,
        version=T0,
        observed_at=from_milliseconds(T0),
        call_status="Succeeded",
        call_conversation=tuple(
            Turn(speaker=speaker, script=script, at=from_milliseconds(T0 + number * 4_000))
            for number, (speaker, script) in enumerate(TALK)
        ),
        changed=("call_status", "call_conversation"),
        is_terminal=True,
        started_at=from_milliseconds(T0),
        ended_at=from_milliseconds(T0 + 20_000),
    )


def watch(bootstrap: str, prefix: str, calls: int, settings: Mapping[str, str]) -> tuple[int, float, float, int]:
    """Run the worker over all calls; return how many it made after its first, in how many seconds, CPU and memory."""
    env = {
        **os.environ,
        "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "CALLSTREAM_HTTP_PORT": str(free_port()),
        **settings,
    }
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "worker.log").open("wb") as log:
        worker = spawn([sys.executable, "-c", WORKER, prefix], stdout=log, cwd=ROOT, env=env)
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": prefix + FOLLOW_UPS_APP, "log_level": 2})
        places = [TopicPartition(prefix + STATUS_CHANGED.name, partition) for partition in range(PARTITIONS)]
        try:
            process = psutil.Process(worker.pid)
            while not (first := sum(ends(bootstrap, prefix + FOLLOWED_UP.name))):
                assert worker.poll() is None, Path(log.name).read_text()
                time.sleep(0.02)
            started, before = time.monotonic(), cpu_seconds(process)
            while sum(max(0, place.offset) for place in consumer.committed(places, timeout=10)) < calls:
                assert worker.poll() is None, Path(log.name).read_text()
                time.sleep(0.05)
            seconds, cpu = time.monotonic() - started, cpu_seconds(process) - before
            return calls - first, seconds, cpu, process.memory_info().rss
        finally:
            consumer.close()
            stop(worker)


if __name__ == "__main__":
    main()
