"""`contacts-report rebuild-redis` on a real Redis."""

import json

import pytest
import redis

from cli.main import main
from stream.storage.keys import Keys
from tests.support.kafka import unique_name
from tests.support.redis_server import RunningRedis


def test_the_groups_keys_go_and_no_others(shared_redis: RunningRedis, capsys: pytest.CaptureFixture[str]) -> None:
    group, other = unique_name("group"), unique_name("group")
    with redis.Redis.from_url(shared_redis.url) as client:
        for keys in (Keys(group), Keys(other)):
            client.hset(keys.positions, "0.position", "7")
            client.hset(keys.days("w"), "all", "x")
        environ = {"CONTACTS_REDIS": shared_redis.url, "CONTACTS_GROUP": group}

        assert main(["rebuild-redis", "--json"], environ) == 0

        assert json.loads(capsys.readouterr().out) == {"group": group, "deleted_keys": 2}
        assert not list(client.scan_iter(match=f"*{group}*"))
        assert len(list(client.scan_iter(match=f"*{other}*"))) == 2
        assert main(["rebuild-redis"], environ) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "deleted 0 keys"


def test_a_redis_that_is_away_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rebuild-redis"], {"CONTACTS_REDIS": "redis://127.0.0.1:1/0", "CONTACTS_GROUP": "g"}) == 2
    assert "Redis does not answer (" in capsys.readouterr().err
