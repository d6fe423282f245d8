-- KEYS: the zone's positions (a geo set) and when each was put (a sorted set, ms).
-- ARGV: lifetime in ms; then longitude, latitude and member of each position.
-- Drops who has expired, then puts the positions.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
for i = 1, #gone do
  redis.call('ZREM', KEYS[1], gone[i])
  redis.call('ZREM', KEYS[2], gone[i])
end
for i = 2, #ARGV, 3 do
  redis.call('GEOADD', KEYS[1], ARGV[i], ARGV[i + 1], ARGV[i + 2])
  redis.call('ZADD', KEYS[2], now, ARGV[i + 2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return #gone
