"""What every test may ask for: real servers, each skipped with its reason where a machine lacks it (tests/support)."""

import os
import sys

pytest_plugins = [
    "tests.support.core",
    "tests.support.forms",
    "tests.support.kafka",
    "tests.support.embedded",
    "tests.support.redis_server",
    "tests.support.servers",
    "tests.support.parallel",
    "tests.support.shared_kafka",
]

# The tests start hundreds of processes: without bytecode on the disk each of them compiles every library again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
