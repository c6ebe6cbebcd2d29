"""Configures access to Kafka: addresses, TLS, and a user name with a password."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any


class Security(StrEnum):
    """Kafka's security protocols."""

    PLAINTEXT = "plaintext"
    SSL = "ssl"
    SASL_PLAINTEXT = "sasl_plaintext"
    SASL_SSL = "sasl_ssl"

    @property
    def tls(self) -> bool:
        return self in (Security.SSL, Security.SASL_SSL)

    @property
    def sasl(self) -> bool:
        return self in (Security.SASL_PLAINTEXT, Security.SASL_SSL)


class Mechanism(StrEnum):
    """How name and password are shown to the broker, where they are."""

    PLAIN = "plain"
    SCRAM_SHA_256 = "scram-sha-256"
    SCRAM_SHA_512 = "scram-sha-512"


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """One Kafka, by its bootstrap servers (host:port, several with commas). Files of TLS are read once a process."""

    servers: str
    security: Security = Security.PLAINTEXT
    mechanism: Mechanism = Mechanism.PLAIN
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    """CA certificates to verify brokers; None: the system trust store."""
    cert_file: Path | None = None
    """The client's own certificate, and in `key_file` its key; None: the broker asks for none."""
    key_file: Path | None = None

    def __str__(self) -> str:
        return self.servers

    def ssl_context(self) -> ssl.SSLContext | None:
        """None without TLS. Raises OSError (also as ssl.SSLError) where a file does not serve."""
        return _ssl_context(self.ca_file, self.cert_file, self.key_file) if self.security.tls else None

    def options(self) -> dict[str, Any]:
        """Of every client of aiokafka."""
        options: dict[str, Any] = {"bootstrap_servers": self.servers, "security_protocol": self.security.upper()}
        if self.security.tls:
            options["ssl_context"] = self.ssl_context()
        if self.security.sasl:
            options["sasl_mechanism"] = self.mechanism.upper()
            options["sasl_plain_username"], options["sasl_plain_password"] = self.username, self.password
        return options


@lru_cache(maxsize=4)
def _ssl_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if cert_file is not None:
        context.load_cert_chain(cert_file, key_file, password="")  # an encrypted key is refused, and asks nobody
    return context
