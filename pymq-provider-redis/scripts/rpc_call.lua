-- Publishes requests, each unless nobody serves its channel.
--
-- KEYS: none
-- ARGV: 1 the inbox of the caller, then for each request its channel, the request, and its id in the inbox, under which
--       one of several servers claims it; empty when all of them are to run it
-- Returns for each the number of servers, 0 meaning that nothing was sent, or the text of the error it met.
--
-- Invariant: who is counted here is who the request reaches. Patterns are not counted: they never serve. What one
-- request may not do hurts no other.
local function with_claim(request, id)
  local claim = ARGV[1] .. '#' .. id
  -- Two braces at the end close the member that only our own kind reads; one alone, and there is no such member yet.
  if request:sub(-2) == '}}' then
    return request:sub(1, -3) .. ',"claim":"' .. claim .. '"}}'
  end
  return request:sub(1, -2) .. ', "__pymq": {"claim":"' .. claim .. '"}}'
end

local counted = {}
local results = {}
for first = 2, #ARGV, 3 do
  local channel, request, id = ARGV[first], ARGV[first + 1], ARGV[first + 2]
  local result = counted[channel] or redis.pcall('PUBSUB', 'NUMSUB', channel)
  counted[channel] = result
  local servers = result[2]
  if not result.err and servers > 0 then
    if servers > 1 and id ~= '' then
      request = with_claim(request, id)
    end
    local reached = redis.pcall('PUBLISH', channel, request)
    if type(reached) == 'table' then
      result = reached
    end
  end
  results[#results + 1] = result.err or servers
end
return results
