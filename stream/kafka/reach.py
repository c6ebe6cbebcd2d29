"""Why Kafka cannot be reached, where its client says no more than that: each step of getting in is tried alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from typing import Final

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from stream.kafka.clients import BROKER_AWAY, describe
from stream.settings.kafka import KafkaAccess

CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 5.0
"""For TLS, the login and a first answer."""

_ASKS_FOR_OURS: Final = "ask for a certificate of ours (CONTACTS_KAFKA_CERT_FILE)"


NOT_REACHED: Final = (
    KafkaConnectionError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    OSError,
    TimeoutError,
    AuthenticationFailedError,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
"""Errors of a client that may not have got in; of the last four it is told below at which step."""


async def why_not_begun(kafka: KafkaAccess, error: BaseException) -> str:
    """Why a client could not begin: which step of reaching Kafka failed, or what Kafka answered."""
    if isinstance(error, NOT_REACHED) or not isinstance(error, KafkaError):
        return f"cannot reach Kafka at {kafka}: {await why_unreachable(kafka)}"
    return f"Kafka at {kafka} answers, and refuses us: {describe(error)}"


async def why_unreachable(kafka: KafkaAccess) -> str:
    """Of the first of its servers, in words for the person on call."""
    host, _, port = kafka.servers.split(",")[0].strip().rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        return f"no connection within {CONNECT_SECONDS:.0f} s"
    except (OSError, ValueError) as error:
        # An error of several addresses has no number; of one, its number says it best.
        number = getattr(error, "errno", None)
        return os.strerror(number) if isinstance(number, int) and number > 0 else str(error)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return await _why_not_let_in(kafka, host.strip("[]"), int(port))


async def _why_not_let_in(kafka: KafkaAccess, host: str, port: int) -> str:
    protocol = f"CONTACTS_KAFKA_SECURITY={kafka.security}"
    options = kafka.options()
    del options["bootstrap_servers"]
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            connection = await create_conn(host, port, request_timeout_ms=int(ANSWER_SECONDS * 1000), **options)
            try:
                await connection.send(MetadataRequest([]))
            finally:
                connection.close()
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not to be trusted (CONTACTS_KAFKA_CA_FILE): {error.verify_message}"
    except ssl.SSLError as error:
        return f"it refuses our TLS ({error.reason}): is {protocol} what this port wants, or does it {_ASKS_FOR_OURS}?"
    except UnsupportedSaslMechanismError:
        return f"it does not take CONTACTS_KAFKA_MECHANISM={kafka.mechanism}"
    except IllegalSaslStateError:
        return f"this port takes no login, and {protocol} wants one"
    except (SaslAuthenticationFailed, AuthenticationFailedError):
        return "it refuses our name or password (CONTACTS_KAFKA_USERNAME, CONTACTS_KAFKA_PASSWORD)"
    except TimeoutError:
        late = f"does not answer within {ANSWER_SECONDS:.0f} s"
        return f"it takes connections, and {late}: is {protocol} what this port wants?"
    except BROKER_AWAY:
        ours = f", or does it {_ASKS_FOR_OURS}" if kafka.security.tls and kafka.cert_file is None else ""
        return f"it takes connections, and closes ours: is {protocol} what this port wants{ours}?"
    return "it answers here, so its brokers may not be reachable by the addresses that they tell (advertised.listeners)"
