"""What every test may ask for: real servers, each skipped with its reason where a machine lacks it (tests/support)."""

pytest_plugins = [
    "tests.support.core",
    "tests.support.kafka",
    "tests.support.embedded",
    "tests.support.redis_server",
    "tests.support.servers",
]
