-- Publishes requests, those to a channel nobody serves excepted.
--
-- KEYS: none
-- ARGV: for each channel 1 its name, 2 'one' where one of several servers is to run each request and 'all' where all
--       are, 3 the requests, 4 an empty text
-- Returns for each channel the number of servers, 0 meaning that nothing was sent, or the text of the error it met.
--
-- Invariant: who is counted here is who the requests reach. Patterns are not counted: they never serve. What may not be
-- done on one channel hurts no other.

-- The server that runs a request claims it by the caller's inbox and the id in there: what the request begins with,
-- behind a name in which every quote is escaped.
local function with_claim(request)
  local id, inbox = request:match('#(%d+)", "([^"]+)"')
  local claim = '"claim":"' .. inbox .. '#' .. id .. '"}}'
  -- Two braces at the end close the member that only our own kind reads; one alone, and there is no such member yet.
  if request:sub(-2) == '}}' then
    return request:sub(1, -3) .. ',' .. claim
  end
  return request:sub(1, -2) .. ', "__pymq": {' .. claim
end

local pcall, argv = redis.pcall, ARGV
local results = {}
local at = 1
while argv[at] do
  local channel, to = argv[at], argv[at + 1]
  local counted = pcall('PUBSUB', 'NUMSUB', channel)
  local result = counted.err or counted[2]
  local is_sent = not counted.err and result > 0
  local is_claimed = to == 'one' and result ~= 1
  at = at + 2
  while argv[at] ~= '' do
    if is_sent then
      local request = argv[at]
      local reached = pcall('PUBLISH', channel, is_claimed and with_claim(request) or request)
      if type(reached) == 'table' then
        result, is_sent = reached.err, false
      end
    end
    at = at + 1
  end
  at = at + 1
  results[#results + 1] = result
end
return results
