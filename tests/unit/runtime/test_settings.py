"""Settings: names, defaults, bounds, and the one line about a wrong one."""

import re
from pathlib import Path

import pytest

from runtime.settings import GROUPS, Settings, SettingsError, variable_of
from runtime.topic_admin import wanted_topics
from schemas.topics import DAY_MS

CONTRACT = {
    "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS", "CALLSTREAM_KAFKA_SECURITY_PROTOCOL", "CALLSTREAM_KAFKA_SASL_MECHANISM",
    "CALLSTREAM_KAFKA_SASL_USERNAME", "CALLSTREAM_KAFKA_SASL_PASSWORD", "CALLSTREAM_KAFKA_SSL_CA_LOCATION",
    "CALLSTREAM_TOPIC_RETENTION_DAYS",
    "CALLSTREAM_TOPIC_PARTITIONS", "CALLSTREAM_INSTANCE_ID", "CALLSTREAM_POSTGRES_DSN", "ALIBABA_CLOUD_ACCESS_KEY_ID",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "CALLSTREAM_OUTBOUNDBOT_INSTANCE_ID", "CALLSTREAM_OUTBOUNDBOT_REGION_ID",
    "CALLSTREAM_OUTBOUNDBOT_ENDPOINT", "CALLSTREAM_OUTBOUNDBOT_PROTOCOL", "CALLSTREAM_OUTBOUNDBOT_MAX_QPS",
    "CALLSTREAM_OUTBOUNDBOT_TIMEOUT_SECONDS", "CALLSTREAM_ASSIGN_SETTLE_SECONDS", "CALLSTREAM_OUTBOUNDBOT_SCRIPT_ID",
    "CALLSTREAM_OUTBOUNDBOT_CALLING_NUMBERS", "CALLSTREAM_POLL_MIN_SECONDS", "CALLSTREAM_POLL_MAX_SECONDS",
    "CALLSTREAM_REASSERT_SECONDS", "CALLSTREAM_NOT_EXIST_SECONDS", "CALLSTREAM_PARK_HOURS",
    "CALLSTREAM_RECORDINGS_ENABLED", "CALLSTREAM_RECORDINGS_MAX_QPS", "CALLSTREAM_ANALYSIS_BASE_URL",
    "CALLSTREAM_ANALYSIS_MODEL",
    "CALLSTREAM_ANALYSIS_API_KEY", "CALLSTREAM_ANALYSIS_CONCURRENCY", "CALLSTREAM_ANALYSIS_TIMEOUT_SECONDS",
    "CALLSTREAM_ANALYSIS_PATIENCE_SECONDS", "CALLSTREAM_SINK_BATCH_ROWS", "CALLSTREAM_SINK_BATCH_SECONDS",
    "CALLSTREAM_HTTP_HOST", "CALLSTREAM_HTTP_PORT", "CALLSTREAM_LOG_FORMAT", "CALLSTREAM_LOG_LEVEL",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours, and no `.env` but the test's own."""
    for name in CONTRACT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_retention_is_given_by_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of topic and days; a topic that is none is refused with the accepted form."""
    monkeypatch.setenv("CALLSTREAM_TOPIC_RETENTION_DAYS", "crm.lead.added.v1=3, crm.lead.added.v1.dlq=9")
    days = Settings.load().core.topic_retention_days
    assert days == {"crm.lead.added.v1": 3, "crm.lead.added.v1.dlq": 9}
    kept = {topic.name: topic.config["retention.ms"] for topic in wanted_topics(4, days)}
    assert kept["crm.lead.added.v1"] == str(3 * DAY_MS)
    assert kept["crm.lead.added.v1.dlq"] == str(9 * DAY_MS)
    assert kept["outbound.call-job.polled.v1"] == str(2 * DAY_MS)
    for wrong in ("crm.lead=3", "crm.lead.added.v1=0", "crm.lead.added.v1"):
        monkeypatch.setenv("CALLSTREAM_TOPIC_RETENTION_DAYS", wrong)
        with pytest.raises(SettingsError, match="CALLSTREAM_TOPIC_RETENTION_DAYS"):
            Settings.load()


def test_the_variables_are_those_of_the_contract() -> None:
    """Those, and what has been added since, by name."""
    assert {variable_of(group, name) for group in GROUPS for name in group.model_fields} == CONTRACT


def test_defaults_work_without_any_variable() -> None:
    """Everything has a default; nothing is read from elsewhere."""
    settings = Settings.load()
    assert settings.core.sink_batch_rows == 1000
    assert settings.cloud.region_id == "cn-shanghai"
    assert settings.core.instance_id is None


def test_a_dotenv_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`.env` of the working directory, below the environment; what it says of others is no concern."""
    (tmp_path / ".env").write_text("CALLSTREAM_POLL_MIN_SECONDS=7\nCALLSTREAM_TOPIC_PARTITIONS=8\nOTHER=1\n")
    monkeypatch.setenv("CALLSTREAM_TOPIC_PARTITIONS", "3")
    core = Settings.load().core
    assert (core.poll_min_seconds, core.topic_partitions) == (7, 3)


def test_calling_numbers_are_a_comma_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces and empty places do not count."""
    monkeypatch.setenv("CALLSTREAM_OUTBOUNDBOT_CALLING_NUMBERS", "0571, 0572,,")
    assert Settings.load().cloud.calling_numbers == ("0571", "0572")


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("CALLSTREAM_POLL_MIN_SECONDS", "0", "a finite number above 0"),
        ("CALLSTREAM_POLL_MAX_SECONDS", "nan", "a finite number above 0"),
        ("CALLSTREAM_OUTBOUNDBOT_MAX_QPS", "inf", "a finite number above 0"),
        ("CALLSTREAM_SINK_BATCH_ROWS", "1.5", "an integer of 1 or more, at most 2147483647"),
        ("CALLSTREAM_SINK_BATCH_ROWS", "1.0", "an integer of 1 or more, at most 2147483647"),
        ("CALLSTREAM_TOPIC_PARTITIONS", "1_000", "an integer of 1 or more, at most 2147483647"),
        ("CALLSTREAM_TOPIC_PARTITIONS", "2147483648", "an integer of 1 or more, at most 2147483647"),
        ("CALLSTREAM_HTTP_PORT", "70000", "a port from 1 to 65535"),
        ("CALLSTREAM_HTTP_PORT", "80.0", "a port from 1 to 65535"),
        ("CALLSTREAM_KAFKA_SSL_CA_LOCATION", "/", "a file that can be read"),
        ("CALLSTREAM_OUTBOUNDBOT_PROTOCOL", "ftp", "http or https"),
        ("CALLSTREAM_OUTBOUNDBOT_ENDPOINT", "http://localhost:8080", "a host or host:port, without a scheme"),
        ("CALLSTREAM_RECORDINGS_ENABLED", "yes", "true or false"),
        ("CALLSTREAM_KAFKA_SECURITY_PROTOCOL", "TLS", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
        ("CALLSTREAM_LOG_LEVEL", "TRACE", "DEBUG, INFO, WARNING or ERROR"),
        ("CALLSTREAM_ANALYSIS_BASE_URL", "ftp://x", "an http:// or https:// URL"),
        ("CALLSTREAM_ANALYSIS_BASE_URL", "http://x:99999", "an http:// or https:// URL"),
        ("CALLSTREAM_ANALYSIS_BASE_URL", "http://x y", "an http:// or https:// URL"),
    ],
)
def test_a_wrong_value_is_one_line_with_variable_value_and_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, accepted: str
) -> None:
    """What an operator needs, and no traceback of a library."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refusal:
        Settings.load()
    assert re.fullmatch(rf"{variable}: '{re.escape(value)}' is not accepted; it takes {accepted}", str(refusal.value))


def test_an_endpoint_needs_the_name_of_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found at the start, not by the first conversation."""
    monkeypatch.setenv("CALLSTREAM_ANALYSIS_BASE_URL", "http://localhost/v1")
    with pytest.raises(SettingsError, match=r"^CALLSTREAM_ANALYSIS_MODEL: none is not accepted"):
        Settings.load()
    monkeypatch.setenv("CALLSTREAM_ANALYSIS_MODEL", "qwen-plus")
    assert Settings.load().analysis.concurrency == 8


def test_a_password_is_not_left_out_with_sasl(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Kafka client would only say so when it is made, again and again."""
    monkeypatch.setenv("CALLSTREAM_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    with pytest.raises(SettingsError, match=r"^CALLSTREAM_KAFKA_SASL_USERNAME: none is not accepted where .* SASL_SSL"):
        Settings.load()
    monkeypatch.setenv("CALLSTREAM_KAFKA_SASL_USERNAME", "callstream")
    with pytest.raises(SettingsError, match=r"^CALLSTREAM_KAFKA_SASL_PASSWORD: none is not accepted"):
        Settings.load()


def test_any_duration_can_be_counted_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is finite and above 0 is accepted, and no calendar or clock overflows by it."""
    monkeypatch.setenv("CALLSTREAM_POLL_MAX_SECONDS", "1e300")
    monkeypatch.setenv("CALLSTREAM_PARK_HOURS", "1e300")
    monkeypatch.setenv("CALLSTREAM_OUTBOUNDBOT_MAX_QPS", "1e-300")
    settings = Settings.load()
    assert settings.core.poll_max_seconds == settings.core.park_hours == 1_000_000
    assert settings.cloud.max_qps == 0.001


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the error about it nor in the settings' own text."""
    monkeypatch.setenv("CALLSTREAM_POSTGRES_DSN", "hunter2 = = broken")
    with pytest.raises(SettingsError) as refusal:
        Settings.load()
    assert "hunter2" not in str(refusal.value)
    monkeypatch.setenv("CALLSTREAM_POSTGRES_DSN", "postgresql://me:hunter2@db/callstream")
    monkeypatch.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "hunter2")
    assert "hunter2" not in repr(Settings.load())
    monkeypatch.setenv("CALLSTREAM_ANALYSIS_BASE_URL", "ftp://me:hunter2@model")
    with pytest.raises(SettingsError) as refusal:
        Settings.load()
    assert "hunter2" not in str(refusal.value)
