-- Forget finished tasks beyond an age or a count, with everything that hangs on them.
-- moves: succeeded, dead, cancelled, expired -> gone
-- keys:  index, records, outcomes, tries, history, progress, logs, checkpoints, expiries
-- args:  age_ms:number, keep:number, limit:number
-- uses:  now
-- gives: how many
local ids = redis.call('ZRANGE', index, '-inf', now - age_ms, 'BYSCORE', 'LIMIT', 0, limit)
if #ids < limit then
  local over = redis.call('ZCARD', index) - keep
  if over > #ids then
    ids = redis.call('ZRANGE', index, 0, math.min(over, limit) - 1)
  end
end
if #ids == 0 then
  return 0
end
redis.call('ZREM', index, unpack(ids))
redis.call('HDEL', records, unpack(ids))
redis.call('HDEL', outcomes, unpack(ids))
redis.call('ZREM', expiries, unpack(ids))
for _, side in ipairs({progress, checkpoints}) do
  if redis.call('EXISTS', side) == 1 then
    redis.call('HDEL', side, unpack(ids))
  end
end
local past = redis.call('EXISTS', tries) == 1 and redis.call('HMGET', tries, unpack(ids))
local logged = redis.call('EXISTS', logs) == 1
for i = 1, #ids do
  local used, lost = 0, 0
  if past and past[i] then
    used, lost = string.match(past[i], '^(%d+)|(%d+)$')
  end
  if logged or (past and past[i]) then
    for number = 1, used + lost + 1 do
      redis.call('HDEL', history, ids[i] .. ':' .. number)
      redis.call('HDEL', logs, ids[i] .. ':' .. number)
    end
  end
end
if past then
  redis.call('HDEL', tries, unpack(ids))
end
return #ids
