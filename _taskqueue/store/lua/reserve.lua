-- Take an idempotency key, or learn what was kept under it.
-- keys:  idempotency
-- args:  text, life_ms
-- gives: what another request kept, or '' when the key is taken now
local kept = redis.call('GET', idempotency)
if kept then
  return kept
end
redis.call('SET', idempotency, text, 'PX', life_ms)
return ''
