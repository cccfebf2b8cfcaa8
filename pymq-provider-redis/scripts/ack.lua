-- Acks leased messages. The caller bounds their number, and names each message once.
--
-- KEYS    of the queue
-- ARGV    for each batch: its name, the number of its messages, and their indexes
-- Return  1 or 0 for each message; 0 means that the lease has ended, and nothing has changed
--
-- Passes at maxmemory: it only removes.

-- Tells whether these are all messages that the batch has ever held. `most` is the last index.
local function is_whole(indexes, size, most)
  if #indexes ~= size or size ~= most then
    return false
  end
  for _, index in ipairs(indexes) do
    if tonumber(index) > most then
      return false
    end
  end
  return true
end

local function remove(batch, indexes, results, places)
  local ends = redis.call('ZSCORE', leases, batch)
  if not ends or tonumber(ends) <= now then
    return
  end
  local most = is_handoff(batch) and 1 or tonumber(string.sub(batch, 35)) or 0
  -- A batch of one message is in `leases` exactly while it holds the message, unless it is a handoff.
  local is_held = most == 1 and not is_handoff(batch)
  local size, removed = is_held and 1 or size_of(batch), 0
  if size > 0 and is_whole(indexes, size, most) then
    redis.call('UNLINK', lease .. batch)
    removed = size
    for _, place in ipairs(places) do
      results[place] = 1
    end
  elseif size > 0 then
    for i, index in ipairs(indexes) do
      results[places[i]] = take_out(batch, index)
      removed = removed + results[places[i]]
    end
  end
  if size > 0 and removed == size then
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
