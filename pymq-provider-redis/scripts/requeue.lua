-- Returns messages whose lease has ended to the front.
--
-- KEYS    of the queue
-- ARGV    batch, index and payload of each message, the one to be taken last first
-- Return  how many were returned
--
-- Passes at maxmemory: the first write removes. If several processes try, one of them returns each
-- message.
check_types()
local ended, returned = {}, 0
for at = 1, #ARGV, 3 do
  local batch, index, payload = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if ended[batch] == nil then
    local ends = redis.call('ZSCORE', leases, batch)
    ended[batch] = ends ~= false and tonumber(ends) <= now and size_of(batch) > 0
  end
  if ended[batch] and take_out(batch, index) == 1 then
    redis.call('RPUSH', list, payload)
    returned = returned + 1
  end
end
for batch in pairs(ended) do
  if redis.call('EXISTS', lease .. batch) == 0 then
    redis.call('ZREM', leases, batch)
  end
end
return returned
