"""`callstream leads import` as a person types it, on a real Kafka: what is sent, what is said, and how it ends."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, TopicPartition

from devtools.processes import wait_until
from schemas.leads import LeadAdded
from schemas.topics import LEAD_ADDED
from tests.fixtures.command import Command, arguments, command_environment
from tests.fixtures.topics import read_events, read_messages

On = Callable[[str], Command]
HEADER = "leads_id,leads_name,leads_phone\n"


def sent(bootstrap: str) -> dict[str, LeadAdded]:
    """The leads in the topic, by their id."""
    return {event.leads_id: event for event in read_events(bootstrap, LEAD_ADDED)}


def big_file(folder: Path, count: int) -> Path:
    """A CSV file of many leads."""
    file = folder / "big.csv"
    with file.open("w") as lines:
        lines.write("leads_id,leads_name,leads_phone,product\n")
        lines.writelines(f"lead-{n},name {n},138{n:08d},course {n % 7}\n" for n in range(count))
    return file


def test_csv_as_spreadsheets_write_it(topics: str, callstream: On, tmp_path: Path) -> None:
    """Byte order mark, CRLF, quoted line breaks, empty lines; bad lines are reported by number and reason, once."""
    file = tmp_path / "leads.csv"
    file.write_bytes(
        "\ufeffleads_id,leads_name,leads_phone,note\r\n"
        '1,"Wáng, ""A""",1381,"two\r\nlines"\r\n'
        "\r\n"
        "2,two\r\n"
        "3,three,1383,\r\n"
        "1,again,1381,\r\n"
        f"{'x' * 129},long,1384,\r\n"
        f"4,{'y' * 1_100_000},1384,\r\n"
        "5,five,1385,last".encode()
    )
    done = callstream(topics)("leads", "import", str(file), "--task", "task-1")
    assert done.returncode == 0
    assert done.stderr == ""
    first, *reasons = done.stdout.splitlines()
    assert first == "sent 3, rejected 4"
    assert [reason.split(":")[0] for reason in reasons] == ["line 5", "line 7", "line 8", "line 9"]
    assert [
        word in reason for word, reason in zip(["2 columns", "line 2", "leads_id", "too long"], reasons, strict=True)
    ]
    leads = sent(topics)
    assert leads.keys() == {"1", "3", "5"}
    assert leads["1"].leads_name == 'Wáng, "A"'
    assert leads["1"].extras == {"note": "two\r\nlines"}


def test_json_lines_and_stdin(topics: str, callstream: On, tmp_path: Path) -> None:
    """The same from a file and from a pipe."""
    text = '{"leads_id":"1","leads_name":"n","leads_phone":"1"}\n\n{"leads_id":"2"}\n[]\n'
    file = tmp_path / "leads.jsonl"
    file.write_text(text)
    for name, piped in ((str(file), None), ("-", text)):
        done = callstream(topics)("leads", "import", name, "--task", "task-1", text=piped or "")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0] == "sent 1, rejected 2"
        assert "line 3: " in done.stdout
        assert "leads_name" in done.stdout
        assert "line 4: the line is no JSON object" in done.stdout
    messages = read_messages(topics, LEAD_ADDED.name)
    assert len({message.value() for message in messages}) == 1
    assert len({message.key() for message in messages}) == 1


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"leads_id;leads_name;leads_phone\n1;n;1\n", "separated by ';'"),
        (b"leads_id\tleads_name\tleads_phone\n1\tn\t1\n", "separated by '\\t'"),
        (b"leads_id,leads_name\n1,n\n", "lacks leads_phone"),
        (b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\xff", "neither CSV nor JSON Lines"),
        ("leads_id,leads_name,leads_phone\n1,n,1\n".encode("utf-16"), "neither CSV nor JSON Lines"),
        (b'[{"leads_id":"1","leads_name":"n","leads_phone":"1"}]', "JSON array"),
        (b"", "is empty"),
    ],
)
def test_a_file_that_is_none_is_said_in_a_sentence(
    topics: str, callstream: On, tmp_path: Path, content: bytes, word: str
) -> None:
    """Status 1, nothing is sent, and stderr has a sentence for whoever reads only that."""
    file = tmp_path / "leads.xlsx"
    file.write_bytes(content)
    done = callstream(topics)("leads", "import", str(file), "--task", "task-1")
    assert done.returncode == 1
    assert word in done.stdout + done.stderr
    assert (done.stdout.count("\n") <= 2, done.stderr.count("\n")) == (True, 1)
    assert done.stdout.startswith("sent 0, ")


def test_usage_is_checked_before_anything_is_read(callstream: On, tmp_path: Path) -> None:
    """Status 2 for no file, a folder, no task, a bad task id; each in one line."""
    file = tmp_path / "leads.csv"
    file.write_text(HEADER)
    run = callstream("127.0.0.1:9")
    for words in (
        (str(tmp_path / "none.csv"), "--task", "t"), (str(tmp_path), "--task", "t"), (str(file),),
        (str(file), "--task", ""),
    ):  # fmt: skip
        done = run("leads", "import", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_file_that_may_not_be_read_is_said(callstream: On, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 2 and one line; root may read everything, so the answer is given in the system's place."""
    file = tmp_path / "leads.csv"
    file.write_text(HEADER)

    def refuse(_path: Path, *_: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    done = callstream("127.0.0.1:9")("leads", "import", str(file), "--task", "t")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{file} cannot be read: Permission denied" in done.stderr


def test_a_disk_that_fails_while_it_is_read_is_said(topics: str, callstream: On) -> None:
    """Status 1, how far it came, and one sentence."""
    done = callstream(topics)("leads", "import", "/proc/self/mem", "--task", "t")
    assert (done.returncode, done.stdout) == (1, "sent 0, rejected 0\n")
    assert "Input/output error" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_broker_that_is_away_is_said_at_once(callstream: On, tmp_path: Path) -> None:
    """Status 1, one sentence, nothing on stdout: no line was sent, and none is said to be."""
    file = tmp_path / "leads.csv"
    file.write_text(HEADER + "1,n,1\n")
    done = callstream("127.0.0.1:9")("leads", "import", str(file), "--task", "t")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "nothing was sent" in done.stderr


def ends(bootstrap: str) -> list[int]:
    """How far each partition of the leads' topic has grown; asked in a moment, for an import is over in a second."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends"})
    try:
        places = [TopicPartition(LEAD_ADDED.name, number) for number in range(4)]
        offsets = [reader.get_watermark_offsets(place, timeout=10) for place in places]
        return [end - low for low, end in offsets]
    finally:
        reader.close()


@pytest.mark.parametrize("count", [30_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_many_lines_take_little_time_and_memory(topics: str, tmp_path: Path, count: int) -> None:
    """Under 200 MB; interrupted, then done again, every lead is there."""
    file = big_file(tmp_path, count)
    words = arguments("leads", "import", str(file), "--task", "task-1")
    from_stdin = arguments("leads", "import", "-", "--task", "task-1")
    with subprocess.Popen(
        from_stdin, env=command_environment(topics), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdin is not None
        half = file.read_bytes().splitlines(keepends=True)[: count // 2]
        first.stdin.write(b"".join(half))  # and the rest never comes
        first.stdin.flush()
        wait_until(lambda: sum(ends(topics)) > 3000, seconds=30, what="leads")
        first.send_signal(signal.SIGINT)
        assert first.wait(30) == 130
        assert first.stdout is not None
        interrupted = re.match(rb"sent (\d+), rejected 0\n", first.stdout.read())
    assert interrupted is not None
    assert 0 < int(interrupted[1]) < count
    began, peak = time.monotonic(), 0
    with subprocess.Popen(words, env=command_environment(topics), stdout=subprocess.PIPE, text=True) as second:
        process = psutil.Process(second.pid)
        while second.poll() is None:
            with process.oneshot():
                peak = max(peak, process.memory_info().rss if process.status() != psutil.STATUS_ZOMBIE else 0)
            time.sleep(0.05)
        took = time.monotonic() - began
        assert second.stdout is not None
        assert second.stdout.read() == f"sent {count}, rejected 0\n"
    print(f"{count} leads in {took:.1f} s, {peak / 2**20:.0f} MB")  # noqa: T201 - recorded in docs/proofs.md
    counts = Counter(message.key() for message in read_messages(topics, LEAD_ADDED.name))
    assert len(counts) == count
    assert max(counts.values()) == 2
    assert peak < 200 * 2**20


def test_the_progress_bar_is_for_terminals_only(topics: str, callstream: On, tmp_path: Path) -> None:
    """Who looks sees a bar on stderr; who pipes sees nothing but the report."""
    file = big_file(tmp_path, 3000)
    piped = callstream(topics)("leads", "import", str(file), "--task", "task-1")
    assert (piped.stdout, piped.stderr) == ("sent 3000, rejected 0\n", "")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    environment = command_environment(topics) | {"TERM": "xterm"}
    words = arguments("leads", "import", str(file), "--task", "task-1")
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break
    os.close(ours)
    assert process.returncode == 0
    assert b"100%" in shown
