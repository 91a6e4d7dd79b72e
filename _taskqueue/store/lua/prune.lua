-- Forget finished tasks beyond an age or a count, and those whose own time is up, with everything that hangs on them.
-- moves: succeeded, dead, cancelled, expired -> gone
-- keys:  leases, index, succeeded, dead, cancelled, expired
-- args:  age_ms:number, keep:number, limit:number
-- uses:  sound, check, drain, now, fail, forget
-- gives: how many
local own, from = {}, {}
local due = redis.call('ZRANGE', forgets, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
for i = 1, #due do
  for _, place in ipairs({succeeded, dead, cancelled, expired}) do
    if redis.call('ZSCORE', place, due[i]) then
      own[#own + 1], from[#from + 1] = due[i], place
      break
    end
  end
end
if #own > 0 then
  forget(own)
  for i = 1, #own do
    redis.call('ZREM', from[i], own[i])
  end
end
if #due > 0 then  -- what has not ended after all gets its time with its end
  redis.call('ZREM', forgets, unpack(due))
end

local ids = redis.call('ZRANGE', index, '-inf', now - age_ms, 'BYSCORE', 'LIMIT', 0, limit)
if #ids < limit then
  local over = redis.call('ZCARD', index) - keep
  if over > #ids then
    ids = redis.call('ZRANGE', index, 0, math.min(over, limit) - 1)
  end
end
if #ids > 0 then
  forget(ids)
  redis.call('ZREM', index, unpack(ids))
end
return #due + #ids
