-- Puts messages, all or none.
--
-- KEYS    of the queue; 6 the mark of a put that may be repeated (or anything without a window)
-- ARGV    1 token, 2 maxsize (0 is unbounded), 3 delay in ms, 4 window of the mark in ms (0 is no mark), 5.. payloads
-- Return  1 put, 0 was put before, -1 full
--
-- At maxmemory the first write refuses, and nothing has happened.
local token, maxsize, delay, window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local payloads = {}
for i = 5, #ARGV do
  payloads[i - 4] = ARGV[i]
end

if window > 0 and redis.call('EXISTS', KEYS[6]) == 1 then
  return 0
end
if delay == 0 then
  if maxsize > 0 then
    local ready = redis.call('LLEN', list) + redis.call('ZCOUNT', delayed, '-inf', now)
    for _, batch in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
      ready = ready + redis.call('HLEN', lease .. batch)
    end
    if ready + #payloads > maxsize then
      return -1
    end
  end
  call_with_all('LPUSH', list, payloads)
else
  local due = after(delay)
  for i, payload in ipairs(payloads) do
    redis.call('ZADD', delayed, due, new_id(token, i) .. ':' .. payload)
  end
end
if window > 0 then
  redis.call('SET', KEYS[6], '', 'PX', window)
end
return 1
