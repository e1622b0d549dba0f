"""Every setting, with its bounds, read from the environment and `.env` once by the command that was called.

A group is a class, a variable is a field; the README's table is checked against these classes. A wrong value raises
`SettingsError` with one line that names the variable, the value unless it is a secret, and what is accepted.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

import psycopg
from psycopg import conninfo
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from runtime.errors import FatalError
from schemas.topics import ALL

TOPIC_NAMES = frozenset({name for topic in ALL for name in (topic.name, topic.dead_letters)})

G = TypeVar("G", bound=BaseSettings)


class SettingsError(FatalError):
    """A setting is wrong; the message is the one line that the command prints."""


def _check_dsn(value: SecretStr) -> SecretStr:
    try:
        conninfo.conninfo_to_dict(value.get_secret_value())
    except psycopg.ProgrammingError as error:
        raise ValueError("not a DSN") from error
    return value


def _check_url(value: str | None) -> str | None:
    if value is None:
        return None
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0 or any(map(str.isspace, value)):
        raise ValueError("not a URL")
    return value


def _check_file(value: str | None) -> str | None:
    if value is not None and not (Path(value).is_file() and os.access(value, os.R_OK)):
        raise ValueError("not readable")
    return value


def _parse_flag(value: object) -> object:
    if isinstance(value, str):
        if value not in {"true", "false"}:
            raise ValueError("not a flag")
        return value == "true"
    return value


def _parse_integer(value: object) -> object:
    """Refuse what a lenient reader takes for an integer: `1.0`, `1_000`."""
    if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?[0-9]+\s*", value, re.ASCII):
        raise ValueError("not an integer")
    return value


def _keep_countable(value: float) -> float:
    """Return a duration or pace that clocks, calendars and sockets can count with; beyond a million is for ever."""
    return min(max(value, 0.001), 1e6)


def _split_commas(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _parse_retention(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = dict(part.strip().partition("=")[::2] for part in value.split(",") if part.strip())
    if unknown := pairs.keys() - TOPIC_NAMES:
        raise ValueError(f"no topic: {', '.join(sorted(unknown))}")
    return pairs


_POSITIVE = "a finite number above 0"
_LARGEST = 2**31 - 1
_COUNT = f"an integer of 1 or more, at most {_LARGEST}"
_RETENTION = "pairs of topic and days, `topic=7`, with commas between; dead letters are topics too"
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, description=_POSITIVE), AfterValidator(_keep_countable)]
Count = Annotated[int, BeforeValidator(_parse_integer), Field(ge=1, le=_LARGEST, description=_COUNT)]
Port = Annotated[int, BeforeValidator(_parse_integer), Field(ge=1, le=65535, description="a port from 1 to 65535")]
Flag = Annotated[bool, BeforeValidator(_parse_flag), Field(description="true or false")]
Text = Annotated[str, Field(min_length=1, description="a text of at least one character")]
Endpoint = Annotated[str | None, Field(pattern=r"^[^\s/]+$", description="a host or host:port, without a scheme")]
Secret = Annotated[SecretStr, Field(min_length=1, description="a text of at least one character")]
Dsn = Annotated[SecretStr, AfterValidator(_check_dsn), Field(description="a connection string that libpq parses")]
File = Annotated[str | None, AfterValidator(_check_file), Field(description="a file that can be read")]
HttpUrl = Annotated[str | None, AfterValidator(_check_url), Field(description="an http:// or https:// URL")]


def _config(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=prefix,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )


class KafkaSettings(BaseSettings):
    """Where the brokers are and how to be let in."""

    model_config = _config("CALLSTREAM_KAFKA_")

    bootstrap_servers: Text = "localhost:9092"
    security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Field(description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
    ] = "PLAINTEXT"
    sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
        Field(description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
    ] = "SCRAM-SHA-512"
    sasl_username: Text | None = None
    sasl_password: Secret | None = None
    ssl_ca_location: File = None


class CloudSettings(BaseSettings):
    """The outbound-call cloud: credentials, instance, limits, and what a task is started with."""

    model_config = _config("CALLSTREAM_OUTBOUNDBOT_")

    access_key_id: Annotated[Text | None, Field(validation_alias="ALIBABA_CLOUD_ACCESS_KEY_ID")] = None
    access_key_secret: Annotated[Secret | None, Field(validation_alias="ALIBABA_CLOUD_ACCESS_KEY_SECRET")] = None
    instance_id: Text | None = None
    region_id: Text = "cn-shanghai"
    endpoint: Endpoint = None
    protocol: Annotated[Literal["http", "https"], Field(description="http or https")] = "https"
    max_qps: Positive = 20
    timeout_seconds: Positive = 10
    script_id: Text | None = None
    calling_numbers: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_split_commas), Field(description="numbers with commas between")
    ] = ()


class AnalysisSettings(BaseSettings):
    """The model that analyses conversations; without a base URL the rules do."""

    model_config = _config("CALLSTREAM_ANALYSIS_")

    base_url: HttpUrl = None
    model: Text | None = None
    api_key: Secret | None = None
    concurrency: Count = 8
    timeout_seconds: Positive = 30
    patience_seconds: Positive = 120


class CoreSettings(BaseSettings):
    """Everything else: database, pace, batches, what a role shows of itself."""

    model_config = _config("CALLSTREAM_")

    topic_partitions: Count = 4
    topic_retention_days: Annotated[
        dict[str, Count], NoDecode, BeforeValidator(_parse_retention), Field(description=_RETENTION)
    ] = {}
    instance_id: Text | None = None
    postgres_dsn: Dsn = SecretStr("postgresql://localhost/callstream")
    assign_settle_seconds: Positive = 10
    poll_min_seconds: Positive = 5
    poll_max_seconds: Positive = 300
    reassert_seconds: Positive = 30
    not_exist_seconds: Positive = 600
    park_hours: Positive = 24
    recordings_enabled: Flag = False
    recordings_max_qps: Positive = 5
    sink_batch_rows: Count = 1000
    sink_batch_seconds: Positive = 0.2
    http_host: Text = "127.0.0.1"
    http_port: Port = 8080
    log_format: Annotated[Literal["json", "console"], Field(description="json or console")] = "json"
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="DEBUG, INFO, WARNING or ERROR")
    ] = "INFO"


GROUPS: tuple[type[BaseSettings], ...] = (KafkaSettings, CloudSettings, AnalysisSettings, CoreSettings)


class Settings(BaseModel):
    """The whole tree, frozen; built once by the command and handed down."""

    model_config = ConfigDict(frozen=True)

    kafka: KafkaSettings
    cloud: CloudSettings
    analysis: AnalysisSettings
    core: CoreSettings

    @classmethod
    def load(cls) -> Self:
        """Read the environment and `.env`; raises SettingsError for the first wrong variable."""
        settings = cls(
            kafka=_load(KafkaSettings),
            cloud=_load(CloudSettings),
            analysis=_load(AnalysisSettings),
            core=_load(CoreSettings),
        )
        for group, field, is_missing, where in settings._missing():
            if is_missing:
                raise SettingsError(
                    f"{variable_of(group, field)}: none is not accepted where {where}; "
                    f"it takes {accepted_of(group, field)}"
                )
        return settings

    def _missing(self) -> Iterator[tuple[type[BaseSettings], str, bool, str]]:
        """Yield what is needed only beside another setting: its group and field, whether it is missing, and where."""
        where = "CALLSTREAM_ANALYSIS_BASE_URL is set"
        yield AnalysisSettings, "model", bool(self.analysis.base_url and not self.analysis.model), where
        is_sasl = self.kafka.security_protocol.startswith("SASL")
        where = f"CALLSTREAM_KAFKA_SECURITY_PROTOCOL is {self.kafka.security_protocol}"
        yield KafkaSettings, "sasl_username", is_sasl and not self.kafka.sasl_username, where
        yield KafkaSettings, "sasl_password", is_sasl and not self.kafka.sasl_password, where

    @property
    def dsn(self) -> str:
        """The database's connection string, password included: never log it."""
        return self.core.postgres_dsn.get_secret_value()


def variable_of(group: type[BaseSettings], field: str) -> str:
    """Return the environment variable that `field` of `group` is read from."""
    alias = group.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"{group.model_config['env_prefix']}{field.upper()}"


def accepted_of(group: type[BaseSettings], field: str) -> str:
    """Return what `field` of `group` accepts, in words."""
    return group.model_fields[field].description or "a text of at least one character"


def _load(group: type[G]) -> G:
    try:
        return group()
    except UnicodeError:
        raise SettingsError(".env: its bytes are not accepted; it takes UTF-8 text") from None
    except ValidationError as error:
        raise SettingsError(_explain(group, error.errors(include_url=False)[0])) from None


def _explain(group: type[BaseSettings], problem: Mapping[str, Any]) -> str:
    location = str(problem["loc"][0])
    by_variable = {variable_of(group, name): name for name in group.model_fields}
    field = by_variable.get(location, location)
    value = problem.get("input")
    is_password_shown = re.search("://.*@", str(value))
    secret = "Secret" in str(group.model_fields[field].annotation) or is_password_shown
    shown = "the value (kept secret)" if secret else repr(value)
    return f"{variable_of(group, field)}: {shown} is not accepted; it takes {accepted_of(group, field)}"
