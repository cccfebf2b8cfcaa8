-- Brings a queue up to a moment, as far as the bound goes: what is due joins the back in due order. Leases that have
-- ended are only reported, since their messages must say how often they have been taken; `requeue` returns them.
--
-- KEYS    of the queue
-- ARGV    1 the moment in ms, empty for now; 2 the batch where the last call stopped and 3 the next index there, or empty
-- Return  1 how many joined, 2 whether there is more to do, 3 ms until something is due or ends next (-1 for never),
--         4 the moment, 5 and 6 where this call stopped, 7 batch, index and payload of messages whose lease has ended
--
-- Passes at maxmemory: the first write is ZREM. The last to end and the last of a batch come first, because each goes
-- before the ones returned already.
check_types()
local moment = tonumber(ARGV[1]) or now
local stop_batch, stop_index = ARGV[2], ARGV[3]
local joined, ended = 0, {}

-- Moves what is due; tells whether that is all of it.
local function join_due()
  while true do
    local member = redis.call('ZRANGEBYSCORE', delayed, '-inf', moment, 'LIMIT', 0, 1)[1]
    if not member then
      return true
    elseif not fits(#member) then
      return false
    end
    redis.call('ZREM', delayed, member)
    redis.call('LPUSH', list, string.sub(member, 44))
    joined = joined + 1
  end
end

-- Reports ended leases; tells whether these are all. At most 10,000 places are looked at, and 1,000 batches.
local function report_ended()
  local looked = 0
  local batches = redis.call('ZREVRANGEBYSCORE', leases, moment, '-inf', 'LIMIT', 0, 1000)
  for _, batch in ipairs(batches) do
    local size = size_of(batch)
    if size == 0 then
      -- Nothing is there, or nothing of ours.
      redis.call('ZREM', leases, batch)
    end
    -- The name of a batch ends with its last index. A batch of its own holds that index alone.
    local last = tonumber(string.sub(batch, -8)) or 0
    last = last > 0 and last or 65536
    local index, first = last, #batch > 42 and last or 1
    if batch == ARGV[2] then
      index = tonumber(ARGV[3])
    end
    while size > 0 and index >= first do
      local bytes = bytes_of(batch, index)
      looked = looked + 1
      if looked > 10000 or (bytes and not fits(bytes)) then
        stop_batch, stop_index = batch, string.format('%d', index)
        return false
      end
      if bytes then
        ended[#ended + 1] = batch
        ended[#ended + 1] = string.format('%d', index)
        ended[#ended + 1] = redis.call('HGET', lease .. batch, index)
        size = size - 1
      end
      index = index - 1
    end
  end
  return #batches < 1000
end

local is_all = join_due() and report_ended()

local wait = -1
for _, key in ipairs({ delayed, leases }) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if first[2] then
    local left = math.max(0, tonumber(first[2]) - now)
    wait = wait < 0 and left or math.min(wait, left)
  end
end
return { joined, is_all and 0 or 1, wait, string.format('%.0f', moment), stop_batch, stop_index, ended }
