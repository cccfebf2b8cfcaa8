-- Claims a call for one server.
--
-- KEYS    1 the claim, 2 a key that never exists
-- ARGV    1 lifetime of the claim in ms, 2 the time by which the call must begin, in ms of the
--         server's clock, or empty
-- Return  1 for the server that runs the call and 0 for every other one, and the result of TIME
--
-- Invariants: a claim is never deleted, or a slow server would win it again. After the time by
-- which the call must begin, every claim is refused. The DEL finds nothing. It is the first write
-- so that the script passes at maxmemory.
redis.call('DEL', KEYS[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local begin_by = tonumber(ARGV[2])
if begin_by and begin_by <= now then
  return { 0, clock }
end
if redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then
  return { 1, clock }
end
return { 0, clock }
