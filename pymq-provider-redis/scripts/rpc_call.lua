-- Publishes requests, each unless nobody serves its channel.
--
-- KEYS: none
-- ARGV: for each request 1 its channel, 2 the request as a single server gets it, 3 how many bytes of its end are
--       others for several, 4 which
-- Returns for each the number of servers, 0 meaning that nothing was sent, or the text of the error it met.
--
-- Invariant: who is counted here is who the request reaches. Patterns are not counted: they never serve. What one
-- request may not do hurts no other.
local counted = {}
local results = {}
for first = 1, #ARGV, 4 do
  local channel, request = ARGV[first], ARGV[first + 1]
  local result = counted[channel] or redis.pcall('PUBSUB', 'NUMSUB', channel)
  counted[channel] = result
  local servers = result[2]
  if not result.err and servers > 0 then
    if servers > 1 then
      request = request:sub(1, -1 - ARGV[first + 2]) .. ARGV[first + 3]
    end
    local reached = redis.pcall('PUBLISH', channel, request)
    if type(reached) == 'table' then
      result = reached
    end
  end
  results[#results + 1] = result.err or servers
end
return results
