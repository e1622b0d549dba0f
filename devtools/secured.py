"""Kafka and PostgreSQL that ask who you are: TLS by an authority of their own, SCRAM passwords, topics with rights.

Who comes through the plain listener, or as `postgres`, is the administrator; `username` is who the roles are.
"""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization
from psycopg import sql

from devtools.apache_kafka import ApacheKafka
from devtools.postgres import EmbeddedPostgres, debian_programs, server_account
from devtools.processes import free_port

_AUTHENTICATION = """\
local   all all                scram-sha-256
host    all postgres 127.0.0.1/32 trust
hostssl all all      127.0.0.1/32 scram-sha-256
"""


class SecuredParts:
    """Both servers, running inside the `with` block; nothing of them is left behind it."""

    username = "callstream"
    password = "a secret, of Kafka's and of PostgreSQL's"  # noqa: S105 - of servers that live for a test

    def __enter__(self) -> Self:
        """Start both; on any failure nothing is left."""
        with ExitStack() as undo:
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="callstream-secured-")))
            folder.chmod(0o755)
            authority = trustme.CA()
            certificate = authority.issue_cert("127.0.0.1", "localhost")
            self.ca_file, self.other_ca_file = folder / "ca.pem", folder / "other-ca.pem"
            authority.cert_pem.write_to_path(self.ca_file)
            trustme.CA().cert_pem.write_to_path(self.other_ca_file)
            self.kafka = undo.enter_context(_kafka(folder, authority, certificate))
            self.postgres = undo.enter_context(_postgres(folder, certificate))
            self.admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers})
            self._let_in()
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End both servers."""
        self._cleanup.close()

    def environment(self, dsn: str) -> dict[str, str]:
        """Return the settings by which a role reaches both; `dsn` names the database as its administrator does."""
        return {
            "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.kafka.listeners['SASL_SSL']}",
            "CALLSTREAM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "CALLSTREAM_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "CALLSTREAM_KAFKA_SASL_USERNAME": self.username,
            "CALLSTREAM_KAFKA_SASL_PASSWORD": self.password,
            "CALLSTREAM_KAFKA_SSL_CA_LOCATION": str(self.ca_file),
            "CALLSTREAM_POSTGRES_DSN": psycopg.conninfo.make_conninfo(
                dsn,
                user=self.username,
                password=self.password,
                sslmode="verify-full",
                sslrootcert=str(self.ca_file),
            ),
        }

    def forbid(self, topic: str) -> None:
        """Take the rights to `topic` away from the roles."""
        self._acl(topic, ResourceType.TOPIC, AclPermissionType.DENY, ResourcePatternType.LITERAL)

    def _let_in(self) -> None:
        credentials = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        wanted = UserScramCredentialUpsertion(self.username, credentials, self.password.encode())
        self.admin.alter_user_scram_credentials([wanted])[self.username].result(30)
        for kind in (ResourceType.TOPIC, ResourceType.GROUP):
            self._acl("*", kind, AclPermissionType.ALLOW, ResourcePatternType.LITERAL)
        user = sql.SQL("create user {} password {}").format(sql.Identifier(self.username), sql.Literal(self.password))
        with psycopg.connect(self.postgres.dsn()) as connection:
            connection.execute(user)

    def _acl(self, name: str, kind: ResourceType, permission: AclPermissionType, pattern: ResourcePatternType) -> None:
        binding = AclBinding(kind, name, pattern, f"User:{self.username}", "*", AclOperation.ALL, permission)
        self.admin.create_acls([binding])[binding].result(30)


def _kafka(folder: Path, authority: trustme.CA, certificate: trustme.LeafCert) -> ApacheKafka:
    keys, trusted = folder / "kafka.pem", folder / "trusted.pem"
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    keys.write_bytes(_pkcs8(certificate.private_key_pem.bytes()) + chain)
    authority.cert_pem.write_to_path(trusted)
    return ApacheKafka(
        listeners={"SASL_SSL": free_port()},
        extra={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keys),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(trusted),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        },
    )


def _pkcs8(key: bytes) -> bytes:
    """Return a private key in the one form that Java reads."""
    return serialization.load_pem_private_key(key, password=None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _postgres(folder: Path, certificate: trustme.LeafCert) -> EmbeddedPostgres:
    files = folder / "postgres"
    files.mkdir()
    key, chain, rules = files / "key.pem", files / "chain.pem", files / "hba.conf"
    certificate.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    rules.write_text(_AUTHENTICATION)
    account = server_account()
    for file in (key, chain, rules):
        file.chmod(0o600)
        if account:
            os.chown(file, account.uid, account.gid)
    return EmbeddedPostgres(
        programs=debian_programs(),
        extra={"ssl": "on", "ssl_cert_file": str(chain), "ssl_key_file": str(key), "hba_file": str(rules)},
    )
