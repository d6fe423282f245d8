-- KEYS[1] the stream; ARGV: how many events it keeps; then id and body of each event.
-- Redis refuses an id that is not above the last: such an event is there already. Returns how many were added.
local added = 0
for i = 2, #ARGV, 2 do
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
