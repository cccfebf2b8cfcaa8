-- Puts messages, all or none. The caller bounds their number and size.
--
-- KEYS    of the queue; 6 the mark of the put, or any key if there is no window
-- ARGV    1 token, 2 maxsize (0 is unbounded), 3 delay in ms, 4 window of the mark in ms (0 is no
--         mark), 5.. payloads
-- Return  1 put, also by this call when it was sent before; 0 put by another call with this mark;
--         -1 full; -2 too many leases have ended to count them: sweep, and call again
--
-- At maxmemory the first write fails, and nothing has changed.
local token, maxsize = ARGV[1], tonumber(ARGV[2])
local delay, window = tonumber(ARGV[3]), tonumber(ARGV[4])

if window > 0 and redis.call('EXISTS', KEYS[6]) == 1 then
  -- The mark holds the token of its put, so a call that is sent again finds its own mark. It is a
  -- hash, because HEXISTS is among the rights we require and no other read of one value is. A mark
  -- of an older version is a string.
  local answer = redis.pcall('HEXISTS', KEYS[6], token) == 1 and 1 or 0
  -- Something is written, because a WAIT behind this call may wait only for what was written, and
  -- the put of this mark may not have reached a replica. HSET passes at maxmemory, as HDEL does.
  redis.pcall('HDEL', KEYS[6], 'known')
  redis.pcall('HSET', KEYS[6], 'known', '')
  return answer
end
local values = {}
if delay == 0 then
  if maxsize > 0 then
    local ready = redis.call('LLEN', list) + redis.call('ZCOUNT', delayed, '-inf', now) + #ARGV - 4
    if ready > maxsize then
      return -1
    end
    local ended = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 1001)
    if #ended > 1000 then
      return -2
    end
    for _, batch in ipairs(ended) do
      ready = ready + size_of(batch)
    end
    if ready > maxsize then
      return -1
    end
  end
  for i = 5, #ARGV do
    values[i - 4] = ARGV[i]
  end
  call_in_chunks('LPUSH', list, values)
else
  local due = time_in(delay)
  for i = 5, #ARGV do
    values[#values + 1] = due
    values[#values + 1] = new_id(token, i) .. ':' .. ARGV[i]
  end
  call_in_chunks('ZADD', delayed, values)
end
if window > 0 then
  redis.call('HSET', KEYS[6], token, '')
  redis.call('EXPIRE', KEYS[6], math.ceil(window / 1000))
end
return 1
