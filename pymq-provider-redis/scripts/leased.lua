-- Reads leased messages, for settlements that change their payload.
--
-- KEYS    of the queue
-- ARGV    batch and index of each message
-- Return  the payload of each, nil for one whose lease has ended; the first ones, up to the bound
local payloads = {}
for at = 1, #ARGV, 2 do
  local batch, index = ARGV[at], ARGV[at + 1]
  local bytes = bytes_of(batch, index)
  if not bytes then
    batch = extended_batch(batch, index)
    bytes = bytes_of(batch, index)
  end
  if not fits(bytes or 0) then
    break
  end
  payloads[#payloads + 1] = bytes and leased_payload(batch, index) or false
end
return payloads
