-- KEYS[1] the stream; ARGV: how many events it keeps; sequence and index of the id that it must have come to; then id and
-- body of each event. Redis refuses an id that is not above the last: such an event is there already. Returns how many were
-- added, or -1 where the stream has not come that far.
local function precedes(one_sequence, one_index, sequence, index)
  -- Decimal numbers up to 2^64, which a double does not hold: the longer is the greater.
  local function less(a, b)
    return #a < #b or (#a == #b and a < b)
  end
  return less(one_sequence, sequence) or (one_sequence == sequence and less(one_index, index))
end
local last = '0-0'
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if not info.err then
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      last = info[i + 1]
    end
  end
elseif not string.find(info.err, 'no such key', 1, true) then
  return info
end
local sequence, index = string.match(last, '^(%d+)-(%d+)$')
if precedes(sequence, index, ARGV[2], ARGV[3]) then
  return -1
end
local added = 0
for i = 4, #ARGV, 2 do
  local reply = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], ARGV[i], 'e', ARGV[i + 1])
  if type(reply) == 'table' and reply.err then
    if not string.find(reply.err, 'equal or smaller', 1, true) then
      return reply
    end
  else
    added = added + 1
  end
end
return added
