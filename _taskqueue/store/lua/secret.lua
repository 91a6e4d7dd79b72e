-- Keep what signs cursors and sessions, once: whoever starts first makes it. At maxmemory too: the first write removes nothing.
-- keys:  queues, secret
-- args:  fresh
-- gives: the secret that all share
local kept = redis.call('GET', secret)
if kept then
  return kept
end
redis.call('HDEL', queues, '')
redis.call('SET', secret, fresh)
return fresh
