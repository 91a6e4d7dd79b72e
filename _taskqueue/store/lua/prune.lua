-- Forget finished tasks beyond an age or a count, and those whose own time is up, with everything that hangs on them.
-- moves: succeeded, dead, cancelled, expired -> gone
-- keys:  index, succeeded, dead, cancelled, expired
-- args:  age_ms:number, keep:number, limit:number
-- uses:  now, fail, forget
-- gives: how many
local own = redis.call('ZRANGE', forgets, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
if #own > 0 then
  for _, place in ipairs({succeeded, dead, cancelled, expired}) do
    redis.call('ZREM', place, unpack(own))
  end
  forget(own)
end
local ids = redis.call('ZRANGE', index, '-inf', now - age_ms, 'BYSCORE', 'LIMIT', 0, limit)
if #ids < limit then
  local over = redis.call('ZCARD', index) - keep
  if over > #ids then
    ids = redis.call('ZRANGE', index, 0, math.min(over, limit) - 1)
  end
end
if #ids > 0 then
  redis.call('ZREM', index, unpack(ids))
  forget(ids)
end
return #own + #ids
