-- Cancel a task: at once while it waits, by request while it runs.
-- moves: scheduled, pending, retrying -> cancelled
-- keys:  leases, records, running, pending, unroutable, scheduled, retrying, succeeded, dead, cancelled, expired, expiries, cancelling
-- args:  id
-- uses:  drain, now
-- gives: the state the task was in, or nil when it is unknown
for state, index in pairs({pending = pending, scheduled = scheduled, retrying = retrying}) do
  if redis.call('ZREM', index, id) == 1 then
    redis.call('ZREM', expiries, id)
    redis.call('ZADD', cancelled, now, id)
    return state
  end
end
if redis.call('ZREM', unroutable, id) == 1 then
  redis.call('ZREM', expiries, id)
  redis.call('ZADD', cancelled, now, id)
  return 'pending'
end
local held = redis.call('HGET', running, id)
if held then
  redis.call('HSET', cancelling, id, string.match(held, '^(.-)|'))
  return 'running'
end
for state, index in pairs({succeeded = succeeded, dead = dead, cancelled = cancelled, expired = expired}) do
  if redis.call('ZSCORE', index, id) then
    return state
  end
end
return false
