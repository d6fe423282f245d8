-- KEYS[1] a sorted set of revoked sessions, by when; ARGV: ms that each stays, since when (ms) to tell, and those to add.
-- Returns the time (ms) and the sessions that were added since then.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[1]))
for at = 3, #ARGV do
  redis.call('ZADD', KEYS[1], now, ARGV[at])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {now, redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], '+inf')}
