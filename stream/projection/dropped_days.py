"""Days that retention has dropped while Redis was told nothing: what they left there is taken away.

A day goes with the commit that drops it. Where Redis was away then, or was lost and restored to a time before, no
commit deletes that day again, for the state has forgotten it; readers pass it over, and it would lie there for ever. So
would the id of a workspace that has no day any more, nor a name.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream.storage.keys import ALL, PARTITIONS, Keys

log = logging.getLogger(__name__)

WORKSPACES_A_LOOK = 500
LOOK_SECONDS = 3_600.0

# KEYS positions, days, cells and rows of a day · ARGV day, version. Only parts go of partitions that say in `positions`
# that they have dropped the day: they have nothing of it, and never will. Answers how many went.
DROP = """
local stored = redis.call('HGET', KEYS[2], ARGV[1])
if not stored then return 0 end
local kept, gone = {}, 0
for part in string.gmatch(string.match(stored, ' (.*)$') or '', '%S+') do
  local partition, bases = string.match(part, '^(%d+):(%d+)$')
  local from = redis.call('HGET', KEYS[1], partition .. '.counts_from')
  if from and tonumber(ARGV[1]) < tonumber(from) then
    gone = gone + 1
    local place = ARGV[1] .. '.' .. partition .. '.'
    redis.call('HDEL', KEYS[3], place .. 't')
    for base = 0, tonumber(bases) - 1 do
      redis.call('HDEL', KEYS[3], place .. base .. '.h', place .. base .. '.c', place .. base .. '.s')
    end
  else
    kept[#kept + 1] = part
  end
end
if gone == 0 then return 0 end
if #kept == 0 then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('UNLINK', KEYS[4])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ' ' .. table.concat(kept, ' '))
end
local all = redis.call('HGET', KEYS[2], 'all')
redis.call('HSET', KEYS[2], 'all', ARGV[2] .. (all and string.match(all, ' %d+$') or ''))
return gone
"""

# KEYS workspaces, days and names of a workspace · ARGV workspace. Whoever counts in it lists it again, with its days.
FORGET_WORKSPACE = """
if redis.call('HLEN', KEYS[2]) ~= 1 or redis.call('HEXISTS', KEYS[2], 'all') == 0 then return end
if redis.call('EXISTS', KEYS[3]) == 1 then return end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('UNLINK', KEYS[2])
"""


async def forget_dropped_days(client: Redis, keys: Keys) -> int:
    """Look through all workspaces once. Returns how many parts of days went. Raises RedisError, and is tried again.

    Of a workspace without days only the look after this one lets go: readers see first that its days are gone.
    """
    kept_from = await _find_kept_from(client, keys)
    if kept_from is None:
        return 0
    drop, forget = client.register_script(DROP), client.register_script(FORGET_WORKSPACE)
    gone, low = 0, "-"
    while True:
        found: list[Any] = await client.zrangebylex(keys.workspaces, low, "+", 0, WORKSPACES_A_LOOK)
        names = [bytes(name).decode() for name in found]
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.hkeys(keys.days(name))
        for name, fields in zip(names, await pipe.execute(), strict=True):
            for day in [int(field) for field in fields if field != ALL.encode() and int(field) < kept_from]:
                of_day = [keys.positions, keys.days(name), keys.cells(name, day), keys.rows(name, day)]
                gone += int(await drop(keys=of_day, args=[day, secrets.token_hex(8)]))
            if fields == [ALL.encode()]:
                await forget(keys=[keys.workspaces, keys.days(name), keys.names(name)], args=[name])
        if len(names) < WORKSPACES_A_LOOK:
            return gone
        low = f"({names[-1]}"


async def forget_quietly(client: Redis, keys: Keys) -> None:
    try:
        gone = await forget_dropped_days(client, keys)
    except (RedisError, OSError) as error:
        log.debug("days that were dropped were not looked for: %s", error)
        return
    if gone:
        log.info("removed %d day aggregates from Redis that retention had dropped", gone)


async def _find_kept_from(client: Redis, keys: Keys) -> int | None:
    """The latest day from which any partition keeps its counts; None: all keep all."""
    partitions = int(await client.hget(keys.positions, PARTITIONS) or 0)
    if not partitions:
        return None
    fields = [keys.position_field(partition, "counts_from") for partition in range(partitions)]
    days = [int(value) for value in await client.hmget(keys.positions, fields) if value]
    return max(days, default=None)
