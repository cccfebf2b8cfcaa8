-- Brings a queue up to the present: what is due joins the back in due order. Leases that have ended are only reported,
-- since their messages must say how often they have been taken; `requeue` returns them.
--
-- KEYS    of the queue
-- ARGV    1 the most messages to move, 2 the most bytes to report
-- Return  1 how many joined, 2 ms until something is due or ends next (0 when there is more to do now, -1 for never),
--         3 some batches whose lease has ended, the last to end first: each its name, and indexes with payloads
--
-- Passes at maxmemory: the first write is ZREM. The last to end come first because each goes before the ones returned
-- already.
check_types()
local payloads, members = {}, redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, ARGV[1])
for i, member in ipairs(members) do
  payloads[i] = string.sub(member, 44)
end
call_with_all('ZREM', delayed, members)
call_with_all('LPUSH', list, payloads)

local batches, bytes = {}, 0
for _, batch in ipairs(redis.call('ZREVRANGEBYSCORE', leases, now, '-inf', 'LIMIT', 0, 1000)) do
  local fields = redis.call('HGETALL', lease .. batch)
  if #fields == 0 then
    redis.call('ZREM', leases, batch)
  else
    batches[#batches + 1] = { batch, fields }
    for i = 2, #fields, 2 do
      bytes = bytes + #fields[i]
    end
  end
  if bytes > tonumber(ARGV[2]) then
    break
  end
end

local wait = -1
for _, key in ipairs({ delayed, leases }) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if first[2] then
    local left = math.max(0, tonumber(first[2]) - now)
    wait = wait < 0 and left or math.min(wait, left)
  end
end
return { #members, wait, batches }
