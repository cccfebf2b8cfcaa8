-- Takes messages from the front on one lease, up to the bound.
--
-- KEYS    of the queue
-- ARGV    1 token, 2 the most messages to take, 3 lease in ms
-- Return  nothing, or 1 the batch, 2.. its payloads in order; the index of the first is 1
--
-- Passes at maxmemory: the first write is a pop. It also raises if the key is not a list.
redis.call('ZCARD', leases)
local payloads, fields = {}, {}
for i = 1, tonumber(ARGV[2]) do
  local payload = not is_full() and redis.call('RPOP', list)
  if not payload then
    break
  elseif not fits(#payload) then
    redis.call('RPUSH', list, payload)
    break
  end
  payloads[i] = payload
  fields[2 * i - 1] = i
  fields[2 * i] = payload
end
if #payloads == 0 then
  return {}
end
local batch = new_id(ARGV[1], #payloads)
call_in_chunks('HSET', lease .. batch, fields)
redis.call('ZADD', leases, time_in(ARGV[3]), batch)
table.insert(payloads, 1, batch)
return payloads
