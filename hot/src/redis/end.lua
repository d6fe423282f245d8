-- KEYS: sessions; ARGV[1]: a node. Deletes those that are the node's, which is in their JSON. Returns how many.
local ended = 0
for i = 1, #KEYS do
  local session = redis.call('GET', KEYS[i])
  local read, fields = pcall(cjson.decode, session)
  if read and type(fields) == 'table' and fields.node == ARGV[1] then
    ended = ended + redis.call('DEL', KEYS[i])
  end
end
return ended
