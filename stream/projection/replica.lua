-- All that writes counts to Redis. One file, four scripts: the first ARGV names which.
--
-- claim:    KEYS positions · ARGV "claim", partition, incarnation, fencing token
--           Makes the caller the only one whose calls are taken. Answers {1, position or "", owed or "", as_of or "", now,
--           copied or ""},
--           or {0, stored incarnation} when Redis holds the counts of another incarnation.
-- project:  KEYS positions, then whatever the operations name by number · ARGV "project", partition, fencing token, sequence number, version, channel, message,
--           as_of or "", partitions or "", n, then n pairs of field and value for `positions`, then the operations.
--           `as_of` is never replaced by an earlier one, unless it lies ahead of Redis' time: then a clock was set back.
--           Done only if the fencing token is that of the last claim and the sequence number is one above that of the last call taken: answers
--           now, else 0. `now` is Redis' own time, in ms since 1970.
-- evicted:  KEYS positions · ARGV "evicted", run, count, policy
--           What a server of this run id says of itself: so many keys evicted, by this policy. Where keys of ours may be
--           among those evicted since the last look, the positions go and the workers send everything again: answers 1,
--           else 0. While the policy may evict our keys they stay: what is sent again would be evicted too.
-- lost:     KEYS positions · ARGV "lost", seconds, most seconds
--           Keys that must be there are not: the positions go, unless they went for this reason so few seconds ago,
--           twice as many each time that this is soon after the last, up to the most. Answers 1 where they went, else 0.
--
-- Operations (all absolute, so that the same call done again changes nothing):
--   h key n (field value)*n     set fields                x key n field*n     delete fields
--   d key n (day segment)*n     this partition's part of a day's manifest, "<partition>:<bases>", or "" where it has none left; and the day's
--                               version. Each day once
--   w list days workspace       the workspace is in the list, and has changed; what row_retention.py put behind its version
--                               stays. Where it has one of the two keys alone, the other was evicted: the positions go
--   z key n member*n            add members, all of score 0
--   r key n member*n            add one member to each of n keys, of which this is the first and the next ones follow
--   l key n (field value)*n     labels: of two, the one with the later stamp stands, whoever wrote it. Each field once
--   u key                       unlink

-- A global is looked up by its name each time, some twenty times an event; a local is not.
local redis, KEYS, ARGV, tonumber, unpack, string, table = redis, KEYS, ARGV, tonumber, unpack, string, table
local verb = ARGV[1]
local positions = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

if verb == 'claim' then
  local partition, incarnation, fencing_token = ARGV[2], ARGV[3], ARGV[4]
  local stored = redis.call('HGET', positions, partition .. '.history')
  if stored and stored ~= incarnation then return {0, stored} end
  redis.call('HSET', positions, partition .. '.history', incarnation, partition .. '.token', fencing_token, partition .. '.number', '0')
  local told = redis.call('HMGET', positions, partition .. '.position', partition .. '.owed', partition .. '.as_of', partition .. '.copied')
  return {1, told[1] or '', told[2] or '', told[3] or '', now, told[4] or ''}
end

-- Readers answer 503 from here on; each owner's next call is refused, and it sends all that it has.
local function forget_positions()
  for _, field in ipairs(redis.call('HKEYS', positions)) do
    local name = string.match(field, '^%d+%.(%l+)$')
    if name == 'position' or name == 'token' or name == 'copied' then redis.call('HDEL', positions, field) end
  end
end

if verb == 'evicted' then
  local run, count, policy = ARGV[2], ARGV[3], ARGV[4]
  local before_run, before_count, before_policy =
    string.match(redis.call('HGET', positions, 'evicted') or '- 0 unknown', '^(%S+) (%d+) (%S+)$')
  if string.match(policy, '^allkeys') then
    redis.call('HSET', positions, 'evicted', before_run .. ' ' .. before_count .. ' ' .. policy)
    return 0
  end
  redis.call('HSET', positions, 'evicted', run .. ' ' .. count .. ' ' .. policy)
  local since = run == before_run and tonumber(before_count) or 0
  -- Such a policy evicts keys of others alone, if it was there at the last look too: a look may be lost, as in a failover.
  local of_others = string.match(policy, '^volatile') and string.match(before_policy, '^volatile')
  if tonumber(count) <= since or of_others then return 0 end
  forget_positions()
  return 1
end

if verb == 'lost' then
  local least, most = tonumber(ARGV[2]), tonumber(ARGV[3])
  local held = redis.call('HMGET', positions, 'lost', 'lost_wait')
  local since, wait = tonumber(time[1]) - (tonumber(held[1] or '0')), tonumber(held[2] or '0')
  if since >= 0 and since < wait then return 0 end
  if since >= 0 and since < 4 * wait then wait = math.min(2 * wait, most) else wait = least end
  redis.call('HSET', positions, 'lost', time[1], 'lost_wait', wait)
  forget_positions()
  return 1
end

local partition, fencing_token, sequence_number, version = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local channel, message, as_of, partitions = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local fields_start, fields_end = 11, 10 + 2 * tonumber(ARGV[10])

local held = redis.call('HMGET', positions, partition .. '.token', partition .. '.number')
if held[1] ~= fencing_token then return 0 end
if tonumber(held[2]) ~= tonumber(sequence_number) - 1 then return 0 end

local function later(new, old)
  if not old then return true end
  local pattern = '^(%d+) (%d+) (%d+) (%d+) ([01])'
  local a, b, c, d, e = string.match(new, pattern)
  local f, g, h, i, j = string.match(old, pattern)
  if e ~= j then return e == '1' end
  if a ~= f then return tonumber(a) > tonumber(f) end
  if b ~= g then return tonumber(b) > tonumber(g) end
  if c ~= h then return tonumber(c) > tonumber(h) end
  return tonumber(d) >= tonumber(i)
end

-- The fields of the pairs of an operation, and what a hash has of them.
local function held_of(key, at, n)
  local fields = {}
  for i = 1, n do fields[i] = ARGV[at + 2 * i - 2] end
  return fields, redis.call('HMGET', key, unpack(fields))
end

local function manifest(stored, segment)
  if not stored then return segment end
  local before = string.find(stored, ' ', 1, true)
  if before and string.sub(stored, before + 1) == segment then return segment end -- no other part, and ours is as it was
  local parts = segment == '' and {} or {segment}
  for part in string.gmatch(string.match(stored, ' (.*)$') or '', '%S+') do
    if string.match(part, '^(%d+):') ~= partition then parts[#parts + 1] = part end
  end
  if #parts > 1 then
    table.sort(parts, function(x, y) return tonumber(string.match(x, '^%d+')) < tonumber(string.match(y, '^%d+')) end)
  end
  return table.concat(parts, ' ')
end

local at = fields_end + 1
local last = #ARGV
while at <= last do
  local op, key = ARGV[at], KEYS[tonumber(ARGV[at + 1])]
  if op == 'h' then
    local n = 2 * tonumber(ARGV[at + 2])
    redis.call('HSET', key, unpack(ARGV, at + 3, at + 2 + n))
    at = at + 3 + n
  elseif op == 'd' then
    local n, gone = tonumber(ARGV[at + 2]), {}
    local days, stored = held_of(key, at + 3, n)
    local put = at + 2 -- what is put takes the place of what was given, from the front
    for i = 1, n do
      local parts = manifest(stored[i], ARGV[at + 2 + 2 * i])
      if parts == '' then
        gone[#gone + 1] = days[i]
      else
        ARGV[put + 1], ARGV[put + 2] = days[i], version .. ' ' .. parts
        put = put + 2
      end
    end
    if put > at + 2 then redis.call('HSET', key, unpack(ARGV, at + 3, put)) end
    if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
    at = at + 3 + 2 * n
  elseif op == 'w' then
    local days = KEYS[tonumber(ARGV[at + 2])]
    local is_new, stored = redis.call('ZADD', key, '0', ARGV[at + 3]) == 1, redis.call('HGET', days, 'all')
    if is_new == (stored and true or false) and redis.call('HEXISTS', positions, partition .. '.position') == 1 then
      forget_positions()
      return 0
    end
    redis.call('HSET', days, 'all', version .. (stored and string.match(stored, ' %d+$') or ''))
    at = at + 4
  elseif op == 'z' then
    local n = tonumber(ARGV[at + 2])
    if n == 1 then
      redis.call('ZADD', key, '0', ARGV[at + 3])
    else
      local add = {}
      for i = 1, n do
        add[2 * i - 1], add[2 * i] = '0', ARGV[at + 2 + i]
      end
      redis.call('ZADD', key, unpack(add))
    end
    at = at + 3 + n
  elseif op == 'r' then
    local first, n = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    for i = 0, n - 1 do redis.call('ZADD', KEYS[first + i], '0', ARGV[at + 3 + i]) end
    at = at + 3 + n
  elseif op == 'l' then
    local n = tonumber(ARGV[at + 2])
    local users, stored = held_of(key, at + 3, n)
    local put = at + 2 -- as above
    for i = 1, n do
      local value = ARGV[at + 2 + 2 * i]
      if later(value, stored[i]) then
        ARGV[put + 1], ARGV[put + 2] = users[i], value
        put = put + 2
      end
    end
    if put > at + 2 then redis.call('HSET', key, unpack(ARGV, at + 3, put)) end
    at = at + 3 + 2 * n
  elseif op == 'x' then
    local n = tonumber(ARGV[at + 2])
    redis.call('HDEL', key, unpack(ARGV, at + 3, at + 2 + n))
    at = at + 3 + n
  elseif op == 'u' then
    redis.call('UNLINK', key)
    at = at + 2
  else
    error('unknown operation ' .. tostring(op))
  end
end

if as_of ~= '' then
  local stored, as_of_ms = tonumber(redis.call('HGET', positions, partition .. '.as_of') or '-1'), tonumber(as_of)
  if stored < as_of_ms or stored > now then redis.call('HSET', positions, partition .. '.as_of', as_of) end
end
if partitions ~= '' then
  local stored = redis.call('HGET', positions, 'partitions')
  if not stored or tonumber(stored) < tonumber(partitions) then redis.call('HSET', positions, 'partitions', partitions) end
end
for i = fields_start, fields_end, 2 do
  if ARGV[i] == partition .. '.moved' and tonumber(ARGV[i + 1]) > now then ARGV[i + 1] = string.format('%.0f', now) end
end
if fields_end > fields_start then redis.call('HSET', positions, unpack(ARGV, fields_start, fields_end)) end
redis.call('HSET', positions, partition .. '.number', sequence_number)
if message ~= '' then redis.call('PUBLISH', channel, message) end
return now
