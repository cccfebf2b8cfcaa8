-- What the queue scripts share; put before each of them.
--
-- KEYS of all of them, whichever they use:
--   1 list     everything ready: put at the left, taken at the right; Python's own
--   2 delayed  sorted set: "<id>:<payload>" by due time
--   3 leases   sorted set: lease batches by the end of their lease
--   4 lease    start of the name of the hash of a batch: index to payload
--   5 dead     sorted set, all scores 0: "<id>:<attempt>:<length of reason>:<reason><payload>"
--
-- Invariants: every message is in exactly one of them. A batch is in `leases` exactly while its hash exists. An id
-- starts with the time it was made, so that the order of ids is the order of time. Time is the server's. What may
-- raise (a key of a wrong type) is read before anything is written, as nothing is rolled back; and where a script must
-- pass at maxmemory its first write is one that Redis always allows, which lets the rest through.
--
-- Every script is bounded: see `fits`. The caller asks again for the rest.
local list, delayed, leases, lease, dead = unpack(KEYS)

local clock = redis.call('TIME')
local micros = clock[1] .. string.format('%06d', clock[2])
local now = math.floor(tonumber(micros) / 1000)

-- The moment so many milliseconds from now: rounded up, so that nothing is ever early.
local function after(millis)
  return math.ceil(tonumber(micros) / 1000) + tonumber(millis)
end

-- Ids are 42 bytes long and have no colon. The id of a batch ends with the number of messages it was made with.
local function new_id(token, index)
  return string.format('%s-%s-%08d', micros, token, index)
end

-- The batch that holds one message, since its lease was extended apart from the rest. The order of names is that of
-- the messages, for leases that end in the same millisecond.
local function own_batch(batch, index)
  return string.format('%s.%08d', batch, index)
end

-- Lua and Redis bound the number of arguments of one call.
local function call_with_all(command, key, values)
  for first = 1, #values, 1000 do
    redis.call(command, key, unpack(values, first, math.min(first + 999, #values)))
  end
end

-- One script handles at most 1,000 messages of 4 MiB together. A larger message is handled alone.
local handled, handled_bytes = 0, 0

-- Tells whether one more message of this size is within the bound, and counts it if it is.
local function fits(bytes)
  if handled >= 1000 or (handled > 0 and handled_bytes + bytes > 4194304) then
    return false
  end
  handled, handled_bytes = handled + 1, handled_bytes + bytes
  return true
end

-- How many messages a lease batch holds. A key of another type holds none.
local function size_of(batch)
  local size = redis.pcall('HLEN', lease .. batch)
  return type(size) == 'number' and size or 0
end

-- How many bytes a leased message has; nil if the batch does not hold it.
local function bytes_of(batch, index)
  local bytes = redis.pcall('HSTRLEN', lease .. batch, index)
  if type(bytes) ~= 'number' then
    return nil
  end
  -- An empty message is there all the same.
  return (bytes > 0 or redis.call('HEXISTS', lease .. batch, index) == 1) and bytes or nil
end

-- Raises if a key that will be written is of another type.
local function check_types()
  redis.call('LLEN', list)
  redis.call('ZCARD', delayed)
  redis.call('ZCARD', leases)
  redis.call('ZCARD', dead)
end
