-- Reads leased messages, for a settlement that changes what they say.
--
-- KEYS    of the queue
-- ARGV    batch and index of each
-- Return  the payload of each, nil for one whose lease is settled
local payloads = {}
for at = 1, #ARGV, 2 do
  local batch, index = ARGV[at], ARGV[at + 1]
  payloads[#payloads + 1] = redis.call('HGET', lease .. batch, index)
    or redis.call('HGET', lease .. own_batch(batch, index), index)
end
return payloads
