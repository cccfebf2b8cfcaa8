-- Settles leased messages, one after the other, up to the bound.
--
-- KEYS    of the queue
-- ARGV    1 token, then five for each message: action, batch, index, ms, payload
--           ack               remove it
--           front payload     to the front, before the last one; unchanged without a payload
--           later ms payload  hidden for this time
--           extend ms         the lease ends after this time
--           bury payload      to the dead letters; the payload is the record without its id
-- Return  1 or 0 for each message that was examined; 0 means that the lease has ended, and nothing
--         has changed
--
-- Passes at maxmemory: the first write is UNLINK, HDEL or ZREM. A message whose lease was extended is alone
-- in its batch from then on. Its receipt stays the same.
check_types()
local alive = {}

local function is_alive(batch)
  if alive[batch] == nil then
    local ends = redis.call('ZSCORE', leases, batch)
    alive[batch] = ends ~= false and tonumber(ends) > now
  end
  return alive[batch]
end

-- Returns the batch that holds a leased message now, and the size of the message.
local function holder(batch, index)
  local extended = extended_batch(batch, index)
  for _, holding in ipairs({ batch, extended }) do
    local bytes = is_alive(holding) and bytes_of(holding, index)
    if bytes then
      return holding, bytes
    end
  end
  return nil, 0
end

local function remove(batch, index)
  take_out(batch, index)
  if redis.call('EXISTS', lease .. batch) == 0 then
    redis.call('ZREM', leases, batch)
    alive[batch] = false
  end
end

-- Sets when a lease ends. A message that was leased with others moves to a batch of its own.
local function extend(holding, index, millis, extended)
  local is_alone = is_handoff(holding) or string.sub(holding, 35) == '00000001'
  if is_alone then
    extended = holding
  elseif holding ~= extended then
    local payload = leased_payload(holding, index)
    remove(holding, index)
    redis.call('HSET', lease .. extended, index, payload)
  end
  redis.call('ZREM', leases, extended)
  redis.call('ZADD', leases, time_in(millis), extended)
  alive[extended] = nil
end

-- Tells whether the key of a batch can be written. Nothing may raise after the first write.
local function is_writable(batch)
  return type(redis.pcall('HLEN', lease .. batch)) == 'number'
end

local results = {}
for at = 2, #ARGV, 5 do
  local action, batch, index, millis, payload = unpack(ARGV, at, at + 4)
  local holding, bytes = holder(batch, index)
  if action == 'extend' and holding and not is_writable(extended_batch(batch, index)) then
    holding = nil
  end
  local is_kept = payload == '' and (action == 'front' or action == 'extend')
  if not fits(is_kept and bytes or #payload) then
    break
  end
  if holding and action == 'extend' then
    extend(holding, index, millis, extended_batch(batch, index))
  elseif holding then
    if action == 'front' and payload == '' then
      payload = leased_payload(holding, index)
    end
    remove(holding, index)
    if action == 'front' then
      redis.call('RPUSH', list, payload)
    elseif action == 'later' then
      redis.call('ZADD', delayed, time_in(millis), new_id(ARGV[1], at) .. ':' .. payload)
    elseif action == 'bury' then
      redis.call('ZADD', dead, 0, new_id(ARGV[1], at) .. ':' .. payload)
    end
  end
  if not holding and is_handoff(batch) and size_of(batch) == 0 then
    -- The wait of its process has failed.
    close_handoff(batch)
  end
  results[#results + 1] = holding and 1 or 0
end
return results
