-- Acks leased messages. The caller bounds their number.
--
-- KEYS    of the queue
-- ARGV    for each batch: its name, the number of its messages, and their indexes
-- Return  1 or 0 for each message; 0 means that the lease has ended, and nothing has changed
--
-- Passes at maxmemory: it only removes.
local function remove(batch, indexes, results, places)
  local ends = redis.call('ZSCORE', leases, batch)
  if not ends or tonumber(ends) <= now or size_of(batch) == 0 then
    return
  end
  for i = 1, #indexes do
    if results[places[i]] == 0 then
      results[places[i]] = redis.call('HDEL', lease .. batch, indexes[i])
    end
  end
  if redis.call('EXISTS', lease .. batch) == 0 then
    redis.call('ZREM', leases, batch)
  end
end

local results = {}
local at = 1
while at < #ARGV do
  local batch, count = ARGV[at], tonumber(ARGV[at + 1])
  local indexes, places = {}, {}
  for i = 1, count do
    indexes[i] = ARGV[at + 1 + i]
    results[#results + 1] = 0
    places[i] = #results
  end
  remove(batch, indexes, results, places)
  for i = 1, count do
    -- A message whose lease was extended may be in a batch of its own.
    if results[places[i]] == 0 then
      remove(extended_batch(batch, indexes[i]), { indexes[i] }, results, { places[i] })
    end
  end
  at = at + 2 + count
end
return results
