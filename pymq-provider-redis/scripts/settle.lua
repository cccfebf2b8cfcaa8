-- Settles leased messages, one after the other, as far as the bound goes.
--
-- KEYS    of the queue
-- ARGV    1 token, then for each five: what, batch, index, ms, payload
--           ack            remove it
--           front payload  to the front, before the one given before; as it was if the payload is empty
--           later ms payload  hidden for so long
--           extend ms      the lease ends so long from now
--           bury payload   to the dead letters; the payload is a whole record but for its id
-- Return  1 or 0 for each of those that were looked at; 0 means that the lease is over, and nothing has changed
--
-- Passes at maxmemory: the first write is HDEL or ZREM. A message whose lease was extended lies in a batch of its own
-- from then on; its receipt stays the same.
check_types()
local alive = {}

local function is_alive(batch)
  if alive[batch] == nil then
    local ends = redis.call('ZSCORE', leases, batch)
    alive[batch] = ends ~= false and tonumber(ends) > now
  end
  return alive[batch]
end

-- The batch in which a message is leased now, and how many bytes it has.
local function holder(batch, index)
  local own = own_batch(batch, index)
  for _, held in ipairs({ batch, own }) do
    local bytes = is_alive(held) and bytes_of(held, index)
    if bytes then
      return held, bytes
    end
  end
  return nil, 0
end

local function remove(batch, index)
  redis.call('HDEL', lease .. batch, index)
  if redis.call('EXISTS', lease .. batch) == 0 then
    redis.call('ZREM', leases, batch)
    alive[batch] = false
  end
end

local function extend(held, index, millis, own)
  if held ~= own then
    local payload = redis.call('HGET', lease .. held, index)
    remove(held, index)
    redis.call('HSET', lease .. own, index, payload)
  end
  redis.call('ZREM', leases, own)
  redis.call('ZADD', leases, after(millis), own)
  alive[own] = nil
end

-- Tells whether the key of a batch can be written: nothing may raise halfway.
local function is_writable(batch)
  return type(redis.pcall('HLEN', lease .. batch)) == 'number'
end

local results = {}
for at = 2, #ARGV, 5 do
  local what, batch, index, millis, payload = unpack(ARGV, at, at + 4)
  local held, bytes = holder(batch, index)
  if what == 'extend' and held and not is_writable(own_batch(batch, index)) then
    held = nil
  end
  if not fits(payload == '' and (what == 'front' or what == 'extend') and bytes or #payload) then
    break
  end
  if held and what == 'extend' then
    extend(held, index, millis, own_batch(batch, index))
  elseif held then
    if what == 'front' and payload == '' then
      payload = redis.call('HGET', lease .. held, index)
    end
    remove(held, index)
    if what == 'front' then
      redis.call('RPUSH', list, payload)
    elseif what == 'later' then
      redis.call('ZADD', delayed, after(millis), new_id(ARGV[1], at) .. ':' .. payload)
    elseif what == 'bury' then
      redis.call('ZADD', dead, 0, new_id(ARGV[1], at) .. ':' .. payload)
    end
  end
  results[#results + 1] = held and 1 or 0
end
return results
