"""What this user of Redis may do of what a worker does, as Redis says it: a script asks, and changes nothing."""

from __future__ import annotations

import json
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from stream.projection.checks import RedisRefused
from stream.settings.redis_words import describe_redis
from stream.storage.keys import Keys

ASK: Final = """
local refused = {}
for _, words in ipairs(cjson.decode(ARGV[1])) do
  if not redis.acl_check_cmd(unpack(words)) then refused[#refused + 1] = words[1] .. ' ' .. (words[2] or '') end
end
return refused
"""
"""`acl_check_cmd` is there from Redis 7.0 on, which is the least that is needed."""


def commands_of(keys: Keys) -> list[list[str]]:
    """Every command of a worker, with the keys that it is used on."""
    hashes = [keys.positions, keys.days("w"), keys.cells("w", 0), keys.names("w")]
    rows = keys.rows("w", 0)
    return [
        *([name, key, "f"] for name in ("HGET", "HMGET", "HDEL", "HEXISTS") for key in hashes),
        *(["HSET", key, "f", "v"] for key in hashes),
        *([name, key] for name in ("HKEYS", "HGETALL", "UNLINK") for key in (*hashes, rows)),
        *(["ZADD", key, "0", "m"] for key in (keys.workspaces, rows, keys.ops)),
        *(["ZRANGEBYLEX", key, "-", "+"] for key in (keys.workspaces, rows)),
        ["ZSCAN", keys.workspaces, "0"],
        ["ZCARD", rows],
        ["ZREM", keys.ops, "m"],
        ["ZRANGE", keys.ops, "0", "-1"],
        ["ZREMRANGEBYSCORE", keys.ops, "-inf", "0"],
        ["SET", keys.ops_of("w"), "v", "EX", "10"],
        ["UNLINK", keys.ops_of("w")],
        ["PUBLISH", keys.changes, "w"],
        ["TIME"],
        ["INFO"],
        ["EVALSHA", "0", "0"],
        ["SCRIPT", "LOAD", "s"],
        ["MULTI"],
    ]


async def ask_permissions(client: Redis, keys: Keys) -> list[str] | None:
    """The commands with their keys that this user may not give; None where the server cannot tell. Raises
    RedisRefused where we may not even ask by a script, as a worker must.
    """
    try:
        refused: Any = await client.eval(ASK, 1, keys.positions, json.dumps(commands_of(keys)))
    except ResponseError as error:
        if "acl_check_cmd" in str(error):
            return None
        raise RedisRefused(f"it refuses our scripts: {error}") from error
    except (RedisError, OSError) as error:
        raise RedisRefused(describe_redis(error)) from error
    return [command.decode() for command in refused]
