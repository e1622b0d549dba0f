"""The deployment files against what they rely on: the compose schema, the settings, the commands, the roles."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml
from typer.core import TyperGroup

from cli.main import app
from cli.run import Role
from cli.supervisor import GRACE_SECONDS, plan
from devtools.cloud.__main__ import parser
from runtime.settings import GROUPS, Settings, variable_of

ROOT = Path(__file__).parents[2]
VARIABLES = {variable_of(group, name) for group in GROUPS for name in group.model_fields}
SECRETS = {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": {"poll", "start", "record"}, "CALLSTREAM_ANALYSIS_API_KEY": {"stream"}}
# The file's own broker has no security, and two containers of a role must not be the same member of its group.
NOT_PASSED_ON = {
    "CALLSTREAM_KAFKA_SECURITY_PROTOCOL",
    "CALLSTREAM_KAFKA_SASL_MECHANISM",
    "CALLSTREAM_KAFKA_SASL_USERNAME",
    "CALLSTREAM_KAFKA_SASL_PASSWORD",
    "CALLSTREAM_KAFKA_SSL_CA_LOCATION",
    "CALLSTREAM_INSTANCE_ID",
}
EXAMPLE_TEXT = (ROOT / ".env.example").read_text()
EXAMPLE: list[tuple[str, str]] = re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE_TEXT, flags=re.MULTILINE)
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: s for name, s in SERVICES.items() if s["image"] == "callstream" and "entrypoint" not in s}
ROLES = {name: service for name, service in OURS.items() if service["command"][0] == "run"}
ONE_SHOTS = {name: service for name, service in OURS.items() if name not in ROLES}


def test_the_compose_file_follows_the_compose_specification() -> None:
    """Validated by the specification's own JSON schema."""
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(COMPOSE)


def test_the_services_set_variables_that_exist() -> None:
    """A misspelt variable would be ignored without a word."""
    given = {(name, variable) for name, service in OURS.items() for variable in service["environment"]}
    assert {(name, variable) for name, variable in given if variable not in VARIABLES} == set()


def test_every_setting_reaches_a_service() -> None:
    """A setting that is added later is passed on, or is one of those that are left out for a reason."""
    passed_on = {variable for service in OURS.values() for variable in service["environment"]}
    assert passed_on == VARIABLES - NOT_PASSED_ON


def test_secrets_reach_only_the_roles_that_need_them() -> None:
    """The cloud's key and the model's key are nobody else's."""
    holders = {
        secret: {name for name, service in OURS.items() if secret in service["environment"]} for secret in SECRETS
    }
    assert holders == SECRETS


def test_each_role_is_one_service() -> None:
    """By the role's name, alone in its container."""
    assert {name: service["command"] for name, service in ROLES.items()} == {
        role.value: ["run", role.value] for role in Role
    }


def test_one_shot_services_run_commands_that_exist() -> None:
    """They are the two of the contract, and lead to a command, not to a group's help."""
    assert {name: _is_command(service["command"]) for name, service in ONE_SHOTS.items()} == {
        "migrate": True,
        "topics": True,
    }


@pytest.mark.parametrize("name", ROLES)
def test_roles_start_after_the_one_shots(name: str) -> None:
    """Tables and topics exist before anything runs."""
    assert ROLES[name]["depends_on"] == {
        one_shot: {"condition": "service_completed_successfully"} for one_shot in ONE_SHOTS
    }


@pytest.mark.parametrize("name", ROLES)
def test_roles_have_more_time_to_end_than_the_supervisor_gives_them(name: str) -> None:
    """Otherwise the container would be killed while it drains."""
    assert _seconds(ROLES[name]["stop_grace_period"]) > GRACE_SECONDS


@pytest.mark.parametrize("name", ROLES)
def test_roles_have_an_init_process(name: str) -> None:
    """Commands are run beside the roles, and `run` reaps only its own children."""
    assert ROLES[name]["init"] is True


@pytest.mark.parametrize("name", ROLES)
def test_the_health_check_asks_every_process_of_the_role(name: str) -> None:
    """Each has a port of its own, in the order in which the supervisor gives them."""
    first = int(ROLES[name]["environment"]["CALLSTREAM_HTTP_PORT"])
    _, interpreter, _, probe, *ports = ROLES[name]["healthcheck"]["test"]
    compile(probe, "probe", "exec")
    assert (interpreter, ports) == ("python", [str(process.port) for process in plan([name], first)])
    assert "http://127.0.0.1:{p}/healthz" in probe


def test_roles_use_the_address_that_the_broker_advertises_to_them() -> None:
    """Of the three listeners one is for the containers, one for this machine, one for the controller."""
    broker: Mapping[str, str] = SERVICES["kafka"]["environment"]
    servers = {service["environment"]["CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS"] for service in OURS.values()}
    advertised = dict(listener.split("://") for listener in broker["KAFKA_ADVERTISED_LISTENERS"].split(","))
    listening = dict(listener.split("://") for listener in broker["KAFKA_LISTENERS"].split(","))
    mapped = {pair.split(":")[0] for pair in broker["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    assert servers == {advertised[broker["KAFKA_INTER_BROKER_LISTENER_NAME"]]}
    assert set(listening) == mapped == set(advertised) | {broker["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    assert all(listening[name].split(":")[1] == address.split(":")[1] for name, address in advertised.items())
    assert broker["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_prometheus_scrapes_every_process() -> None:
    """By the ports that the supervisor gives them."""
    scraped = yaml.safe_load((ROOT / "dashboards" / "prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in scraped for entry in job["static_configs"] for target in entry["targets"]]
    expected = [
        f"{name}:{process.port}"
        for name, service in ROLES.items()
        for process in plan([name], int(service["environment"]["CALLSTREAM_HTTP_PORT"]))
    ]
    assert sorted(targets) == sorted(expected)


def test_every_mounted_file_is_there() -> None:
    """Docker would make a folder in its place."""
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", []) if mount.startswith("./")]
    assert mounts
    assert [mount for mount in mounts if not (ROOT / mount.split(":")[0]).is_file()] == []


def test_the_simulator_is_started_as_it_can_be() -> None:
    """Its options are those of its command line."""
    service = SERVICES["cloud"]
    arguments = parser().parse_args(service["command"])
    assert (arguments.host, arguments.port) == ("0.0.0.0", 8900)  # noqa: S104 - inside its container
    assert service["entrypoint"] == ["python", "-m", "devtools.cloud"]


def test_nothing_is_published_beyond_this_machine() -> None:
    """The passwords in the file are known to everybody."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_is_built_from_every_package() -> None:
    """What the wheel lists is let through, `.env` is not."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["packages"]
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == {
        "pyproject.toml",
        "README.md",
        "requirements.lock",
        *packages,
    }


def test_the_example_gives_a_value_where_there_is_a_default() -> None:
    """An empty value would be read as the default too, and would say nothing."""
    fields = {variable_of(group, name): field for group in GROUPS for name, field in group.model_fields.items()}
    empty = {name for name, value in EXAMPLE if not value}
    assert empty == {name for name, field in fields.items() if field.default in (None, (), {})}


def test_the_example_names_every_variable_with_its_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All of it is commented, and uncommented it changes nothing."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    defaults = Settings.load().model_dump()
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in EXAMPLE))
    assert sorted(name for name, _ in EXAMPLE) == sorted(VARIABLES)
    assert [line for line in EXAMPLE_TEXT.splitlines() if line and not line.startswith("#")] == []
    assert Settings.load().model_dump() == defaults


def _is_command(words: list[str]) -> bool:
    group: object = typer.main.get_command(app)
    for word in words:
        if not isinstance(group, TyperGroup) or word not in group.commands:
            return False
        group = group.commands[word]
    return not isinstance(group, TyperGroup)


def _seconds(duration: str) -> int:
    match = re.fullmatch(r"(\d+)s", duration)
    assert match
    return int(match[1])
