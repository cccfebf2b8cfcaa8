-- Counts the messages in each part of a queue.
--
-- KEYS    of the queue
-- Return  ready, delayed, leased, dead; what is due and what was leased too long ago is ready
local due = redis.call('ZCOUNT', delayed, '-inf', now)
local leased, ended = 0, 0
local batches = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')
for i = 1, #batches, 2 do
  local size = redis.call('HLEN', lease .. batches[i])
  if tonumber(batches[i + 1]) > now then
    leased = leased + size
  else
    ended = ended + size
  end
end
return {
  redis.call('LLEN', list) + due + ended,
  redis.call('ZCARD', delayed) - due,
  leased,
  redis.call('ZCARD', dead),
}
