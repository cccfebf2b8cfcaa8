-- Brings a queue up to a moment, up to the bound. Due messages join the back in the order of their
-- due times. Ended leases are only reported, because the attempt in their payload must be counted
-- first. `requeue.lua` returns them.
--
-- KEYS    of the queue
-- ARGV    1 the moment in ms, empty for now; 2 the batch where the last call stopped and 3 the next
--         index in it, or empty
-- Return  1 how many messages joined, 2 whether there are more, 3 ms until the next due time (1,000
--         if it is later) or lease end (-1 if none), 4 the moment, 5 and 6 where this call stopped,
--         7 batch, index and payload of each message whose lease has ended
--
-- Passes at maxmemory: the first write removes. The batch that ended last and the last message of a
-- batch come first, because each is pushed in front of the earlier ones.
check_types()
local moment = tonumber(ARGV[1]) or now
local stop_batch, stop_index = ARGV[2], ARGV[3]
local joined, ended = 0, {}

-- Moves due messages. Tells whether all were moved.
local function join_due()
  while not is_full() do
    local member = redis.call('ZRANGEBYSCORE', delayed, '-inf', moment, 'LIMIT', 0, 1)[1]
    if not member then
      return true
    elseif not fits(#member) then
      return false
    end
    redis.call('ZREMRANGEBYRANK', delayed, 0, 0)
    redis.call('LPUSH', list, string.sub(member, 44))
    joined = joined + 1
  end
  return redis.call('ZCOUNT', delayed, '-inf', moment) == 0
end

-- Reports ended leases. Tells whether these are all. Examines up to 10,000 indexes, 1,000 batches.
local function report_ended()
  local examined = 0
  local batches = redis.call('ZREVRANGEBYSCORE', leases, moment, '-inf', 'LIMIT', 0, 1000)
  for _, batch in ipairs(batches) do
    local size = size_of(batch)
    if size == 0 and is_handoff(batch) then
      close_handoff(batch)
    elseif size == 0 then
      -- The key has another type.
      redis.call('ZREM', leases, batch)
    end
    -- The name of a batch ends with its last index. An extended batch holds that
    -- index alone.
    local last = is_handoff(batch) and 1 or tonumber(string.sub(batch, -8)) or 65536
    local index, first = last, #batch > 42 and last or 1
    if batch == ARGV[2] then
      index = tonumber(ARGV[3])
    end
    while size > 0 and index >= first do
      local bytes = bytes_of(batch, index)
      examined = examined + 1
      if examined > 10000 or (bytes and not fits(bytes)) then
        stop_batch, stop_index = batch, string.format('%d', index)
        return false
      end
      if bytes then
        ended[#ended + 1] = batch
        ended[#ended + 1] = string.format('%d', index)
        ended[#ended + 1] = leased_payload(batch, index)
        size = size - 1
      end
      index = index - 1
    end
  end
  return #batches < 1000
end

local is_all = join_due() and report_ended()

-- Returns the time in ms until the first message is due, at most 1,000. It counts, because a read
-- of the message copies its payload.
local function until_due()
  local low, high = 0, 1000
  while low < high do
    local middle = math.floor((low + high) / 2)
    if redis.call('ZCOUNT', delayed, '-inf', now + middle) > 0 then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

local until_next = redis.call('ZCARD', delayed) > 0 and until_due() or -1
local first = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
if first[2] then
  local ms_left = math.max(0, tonumber(first[2]) - now)
  until_next = until_next < 0 and ms_left or math.min(until_next, ms_left)
end
local is_more = is_all and 0 or 1
return { joined, is_more, until_next, string.format('%.0f', moment), stop_batch, stop_index, ended }
