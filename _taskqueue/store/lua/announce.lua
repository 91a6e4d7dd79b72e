-- Publish the tasks that a worker process knows, and forget those nobody has named for long. At maxmemory too: the first
-- write removes nothing.
-- keys:  handlers, handler_times
-- args:  silent_ms:number, ...
-- rest:  name, description, …
-- uses:  now
-- gives: now
redis.call('ZREM', handler_times, '')
for i = rest + 1, #ARGV, 2 do
  redis.call('HSET', handlers, ARGV[i], ARGV[i + 1])
  redis.call('ZADD', handler_times, now, ARGV[i])
end
local silent = redis.call('ZRANGE', handler_times, '-inf', now - silent_ms, 'BYSCORE', 'LIMIT', 0, 100)
if #silent > 0 then
  redis.call('ZREM', handler_times, unpack(silent))
  redis.call('HDEL', handlers, unpack(silent))
end
return now
