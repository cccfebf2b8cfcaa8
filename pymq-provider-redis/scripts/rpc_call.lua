-- Publishes requests, except those to a channel without servers and those whose time is over.
--
-- KEYS: none
-- ARGV: for each channel 1 its name, 2 'one' where one of several servers is to run each request and 'all' where all
--       are, 3 the number of requests, 4 for each request the time by which it must begin, in milliseconds of the
--       server's clock, and the request; the time is empty where there is none and 0 where the caller is gone
-- Returns 1 the result of TIME; 2 for each channel the number of servers, 0 meaning that nothing was sent, or the text
-- of the error it met; 3 the numbers, from 0 over all channels, of the requests whose time is over.
--
-- Invariant: the servers that are counted here are those that the requests reach. Patterns are not counted: they never
-- serve. A refusal on one channel hurts no other.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Adds to a request what only our own kind reads. The server that runs a request claims it by the caller's inbox and
-- the id in there: what the request begins with, behind a name in which every quote is escaped.
local function with_more(request, begin_by, is_claimed)
  local more = {}
  if begin_by then
    more[1] = string.format('"timeout":%.0f,"begin_by":%.0f', begin_by - now, begin_by)
  end
  if is_claimed then
    local id, inbox = request:match('#(%d+)", "([^"]+)"')
    more[#more + 1] = '"claim":"' .. inbox .. '#' .. id .. '"'
  end
  if #more == 0 then
    return request
  end
  local text = table.concat(more, ',') .. '}}'
  -- Two braces at the end close the member that only our own kind reads; one alone, and there is no such member yet.
  if request:sub(-2) == '}}' then
    return request:sub(1, -3) .. ',' .. text
  end
  return request:sub(1, -2) .. ', "__pymq": {' .. text
end

local pcall, argv = redis.pcall, ARGV
local results, late = {}, {}
local at, number = 1, 0
while argv[at] do
  local channel, to, count = argv[at], argv[at + 1], tonumber(argv[at + 2])
  local counted = pcall('PUBSUB', 'NUMSUB', channel)
  local result = counted.err or counted[2]
  local is_sent = not counted.err and result > 0
  local is_claimed = to == 'one' and result ~= 1
  at = at + 3
  for _ = 1, count do
    local begin_by, request = tonumber(argv[at]), argv[at + 1]
    if begin_by and begin_by <= now then
      late[#late + 1] = number
    elseif is_sent then
      local reached = pcall('PUBLISH', channel, with_more(request, begin_by, is_claimed))
      if type(reached) == 'table' then
        result, is_sent = reached.err, false
      end
    end
    at = at + 2
    number = number + 1
  end
  results[#results + 1] = result
end
return { clock, results, late }
