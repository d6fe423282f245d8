-- KEYS[1] the bucket; ARGV: capacity in millionths of a token, ms to fill, spent in millionths, or given back where it is less than none.
-- A bucket is a hash of `micro` (millionths of a token) and `at` (ms). Returns what is left, in millionths.
local capacity, fills_ms, spent = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local old = redis.call('HMGET', KEYS[1], 'micro', 'at')
local micro, at = tonumber(old[1]) or capacity, tonumber(old[2]) or now
local elapsed = math.max(0, math.min(now - at, 2 * fills_ms))
-- A thousandth more than exact, since a double rounds what an integer does not.
local gained = math.floor(elapsed * capacity / fills_ms + 0.001)
micro = math.max(math.min(math.min(micro + gained, capacity) - spent, capacity), -capacity)
redis.call('HSET', KEYS[1], 'micro', string.format('%.0f', micro), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], 2 * fills_ms)
return micro
