-- Rows in packed blocks: the layout that `./dev bench blocks` measures beside the sorted sets of the product. A key is the
-- hash of a workspace-day; a series is a partition, or a part of its rows that is kept apart, such as those that came late.
--
--   o<series>           what the series holds (rows, least and greatest offset, closed blocks), and the name of its open
--                       block. That one's rows lie in a string, <key>:<series>, where a row is added without a copy
--   i<series>           the names of the closed blocks, one after another
--   b<series>.<block>   the rows of a closed block
--
-- A name is 32 bytes: number of the block (bytes of the open one), rows, first and last offset, earliest and latest second. Rows are msgpack's
-- byte strings, one after another. The open block takes rows until it would have more than so many bytes.
--
-- add:   KEYS a hash for each run of rows · ARGV "add", bytes of a block, then for each key: series, name, rows
--        Rows whose offsets the series holds already change nothing. Answers how many runs were looked at row by row.
-- count: KEYS hashes · ARGV "count", series. Answers how many rows each holds.
-- cut:   KEYS a hash · ARGV "cut", series, rows. Deletes the closed blocks that end first, while they have together no
--        more rows than this. Answers how many rows are gone.
local HELD, NAME = '>I4I8I8I4', '>I4I4I8I8I4I4'
local HELD_BYTES, NAME_BYTES = 24, 32
local call, pack, unpack_fields, sub = redis.call, struct.pack, struct.unpack, string.sub
local min, max = math.min, math.max

local function each_row(rows)
  local at = 1
  return function()
    if at > #rows then return nil end
    local start, size, body = at, nil, nil
    if string.byte(rows, at) == 0xc4 then
      size, body = string.byte(rows, at + 1), at + 2
    else
      size, body = unpack_fields('>I2', rows, at + 1)
    end
    at = body + size
    local end_of_id = string.find(rows, '\0\1', body + 8, true)
    return (unpack_fields('>I8', rows, end_of_id + 4)), sub(rows, start, at - 1)
  end
end

-- Of rows with offsets from first to last, those that the series does not hold yet; and their number.
local function lacking(key, series, open, rows, first, last)
  local held = {}
  local function hold(block_rows)
    for offset in each_row(block_rows) do held[offset] = true end
  end
  local index = call('HGET', key, 'i' .. series) or ''
  for at = 1, #index, NAME_BYTES do
    local block, _, low, high = unpack_fields(NAME, index, at)
    if low <= last and high >= first then hold(call('HGET', key, 'b' .. series .. '.' .. block)) end
  end
  local _, _, low, high = unpack_fields(NAME, open, HELD_BYTES + 1)
  if low <= last and high >= first then hold(call('GET', key .. ':' .. series)) end
  local left = {}
  for offset, row in each_row(rows) do
    if not held[offset] then left[#left + 1] = row end
  end
  return table.concat(left), #left
end

local function add(key, series, name, rows, block_bytes)
  local _, count, first, last, earliest, latest = unpack_fields(NAME, name)
  local open, place = call('HGET', key, 'o' .. series), key .. ':' .. series
  if not open then
    call('HSET', key, 'o' .. series, pack(HELD, count, first, last, 0) .. name)
    call('SET', place, rows)
    return 0
  end
  local held, least, greatest, closed = unpack_fields(HELD, open)
  local looked = 0
  if first <= greatest and last >= least then
    rows, count = lacking(key, series, open, rows, first, last)
    looked = 1
    if count == 0 then return looked end
  end
  held, least, greatest = held + count, min(least, first), max(greatest, last)
  local bytes, of_open, low, high, early, late = unpack_fields(NAME, open, HELD_BYTES + 1)
  if bytes + #rows <= block_bytes then
    low, high, early, late = min(low, first), max(high, last), min(early, earliest), max(late, latest)
    local head = pack(NAME, bytes + #rows, of_open + count, low, high, early, late)
    call('HSET', key, 'o' .. series, pack(HELD, held, least, greatest, closed) .. head)
    call('APPEND', place, rows)
    return looked
  end
  local index = call('HGET', key, 'i' .. series) or ''
  local head = pack(NAME, #rows, count, first, last, earliest, latest)
  call(
    'HSET', key,
    'i' .. series, index .. pack('>I4', closed) .. sub(open, HELD_BYTES + 5),
    'b' .. series .. '.' .. closed, call('GET', place),
    'o' .. series, pack(HELD, held, least, greatest, closed + 1) .. head
  )
  call('SET', place, rows)
  return looked
end

local verb = ARGV[1]
if verb == 'add' then
  local block_bytes, looked = tonumber(ARGV[2]), 0
  for i, key in ipairs(KEYS) do
    looked = looked + add(key, ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2], block_bytes)
  end
  return looked
end

if verb == 'count' then
  local counts = {}
  for i, key in ipairs(KEYS) do
    local open = call('HGET', key, 'o' .. ARGV[2])
    counts[i] = open and (unpack_fields('>I4', open)) or 0
  end
  return counts
end

local key, series, left = KEYS[1], ARGV[2], tonumber(ARGV[3])
local index, gone = call('HGET', key, 'i' .. series) or '', 0
local blocks = {}
for at = 1, #index, NAME_BYTES do
  local block, count, _, _, _, latest = unpack_fields(NAME, index, at)
  blocks[#blocks + 1] = {at = at, block = block, count = count, latest = latest}
end
table.sort(blocks, function(one, other) return one.latest < other.latest end)
for i, block in ipairs(blocks) do
  if gone + block.count > left then
    table.sort(blocks, function(one, other) return one.at < other.at end)
    break
  end
  gone, block.gone = gone + block.count, true
  call('HDEL', key, 'b' .. series .. '.' .. block.block)
end
local kept = {}
for _, block in ipairs(blocks) do
  if not block.gone then kept[#kept + 1] = sub(index, block.at, block.at + NAME_BYTES - 1) end
end
local open = call('HGET', key, 'o' .. series)
open = pack('>I4', (unpack_fields('>I4', open)) - gone) .. sub(open, 5)
call('HSET', key, 'i' .. series, table.concat(kept), 'o' .. series, open)
return gone
