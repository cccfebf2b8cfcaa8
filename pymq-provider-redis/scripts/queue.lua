-- Shared by the queue scripts, and prepended to each of them.
--
-- KEYS of all queue scripts, used or not:
--   1 list     the ready messages: put at the left, taken at the right; Python's own
--   2 delayed  sorted set: "<id>:<payload>" by due time
--   3 leases   sorted set: lease batches by the end of their lease
--   4 lease    start of the name of a batch's hash, from index to payload; of a handoff's list
--   5 dead     sorted set, all scores 0: "<id>:<attempt>:<length of reason>:<reason><payload>"
--
-- Invariants:
--   Every message is in exactly one of them.
--   A batch is in `leases` exactly while its hash exists. A handoff is there also while a process
--   waits for its message.
--   An id starts with the time it was made, so the order of ids is the order of time.
--   All times are the server's.
--   A command that may raise (a key of a wrong type) comes before the first write: Redis rolls
--   nothing back. Where a script must pass at maxmemory, its first write is one that Redis always
--   allows, and then the other writes pass too.
--
-- Every script is bounded, see `fits`. The caller calls again for the rest.
local list, delayed, leases, lease, dead = unpack(KEYS)

local clock = redis.call('TIME')
local micros = clock[1] .. string.format('%06d', clock[2])
local now = math.floor(tonumber(micros) / 1000)

-- Returns the time in this many milliseconds, rounded up, so that nothing happens early.
local function time_in(millis)
  return math.ceil(tonumber(micros) / 1000) + tonumber(millis)
end

-- Returns an id: 42 bytes without a colon. The id of a batch ends with its number of messages.
local function new_id(token, index)
  return string.format('%s-%s-%08d', micros, token, index)
end

-- Returns the batch that a message moves to when its lease is extended. It holds one message.
-- Names sort in the order of the messages, for leases that end in the same millisecond.
local function extended_batch(batch, index)
  return string.format('%s.%08d', batch, index)
end

-- Runs a command on many values. Lua and Redis limit the arguments of one command.
local function call_in_chunks(command, key, values)
  for first = 1, #values, 1000 do
    redis.call(command, key, unpack(values, first, math.min(first + 999, #values)))
  end
end

-- One script handles at most 1,000 messages of 4 MiB together. It handles a larger message alone.
local handled, handled_bytes = 0, 0

-- Tells whether no more message fits, before the next one is read. To read a large message in vain
-- takes as long as to move it.
local function is_full()
  return handled >= 1000 or handled_bytes >= 4194304
end

-- Tells whether one more message of this size fits, and counts it if so.
local function fits(bytes)
  if is_full() or (handled > 0 and handled_bytes + bytes > 4194304) then
    return false
  end
  handled, handled_bytes = handled + 1, handled_bytes + bytes
  return true
end

-- Tells whether a batch is a handoff: a list of at most one message, with the index 1. Redis itself
-- moves the message there when a waiting process gets it.
local function is_handoff(batch)
  return string.sub(batch, 35) == '00000000'
end

-- Returns how many messages a lease batch holds. A key of another type holds none.
local function size_of(batch)
  local size = redis.pcall(is_handoff(batch) and 'LLEN' or 'HLEN', lease .. batch)
  return type(size) == 'number' and size or 0
end

-- Removes a handoff that holds nothing. The BLMOVE of its wait may still block, if the server has
-- not noticed that the connection is lost: it moves nothing to a string.
local function close_handoff(batch)
  redis.call('ZREM', leases, batch)
  redis.call('SET', lease .. batch, '', 'NX', 'PX', 10000)
end

-- Returns a message that a batch holds.
local function leased_payload(batch, index)
  if is_handoff(batch) then
    return redis.call('LRANGE', lease .. batch, 0, 0)[1]
  end
  return redis.call('HGET', lease .. batch, index)
end

-- Removes a message from a batch. Returns 1, or 0 if the batch does not hold it.
local function take_out(batch, index)
  if is_handoff(batch) then
    return tonumber(index) == 1 and redis.call('UNLINK', lease .. batch) or 0
  end
  return redis.call('HDEL', lease .. batch, index)
end

-- Returns the size of a leased message in bytes, or nil if the batch does not hold it.
local function bytes_of(batch, index)
  if is_handoff(batch) then
    return tonumber(index) == 1 and size_of(batch) > 0 and #leased_payload(batch, index) or nil
  end
  local bytes = redis.pcall('HSTRLEN', lease .. batch, index)
  if type(bytes) ~= 'number' then
    return nil
  end
  -- A field with 0 bytes is an empty message or does not exist.
  return (bytes > 0 or redis.call('HEXISTS', lease .. batch, index) == 1) and bytes or nil
end

-- Raises if a key that the script writes has another type.
local function check_types()
  redis.call('LLEN', list)
  redis.call('ZCARD', delayed)
  redis.call('ZCARD', leases)
  redis.call('ZCARD', dead)
end
