-- Remove tasks with everything that hangs on them, the record last. The caller then takes them out of their state index:
-- what failed half-way is still there, and can be removed again.
-- keys:  records, outcomes, tries, history, progress, logs, checkpoints, expiries, labelled, labels, uniques, unique_of, unique_ends, batch_of, batches, retains, forgets, faults, unfit
local function drop_fields(side, ids)
  if redis.call('EXISTS', side) == 1 then
    redis.call('HDEL', side, unpack(ids))
  end
end

local function drop_attempts(ids)
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
  drop_fields(tries, ids)
end

local function drop_labels(ids)
  if redis.call('EXISTS', labelled) == 0 then
    return
  end
  local found = redis.call('HMGET', labelled, unpack(ids))
  for i = 1, #ids do
    for label in string.gmatch(found[i] or '', '[^\n]+') do
      redis.call('ZREM', labels, label .. '\0' .. ids[i])
    end
  end
  redis.call('HDEL', labelled, unpack(ids))
end

local function drop_keys(ids)
  if redis.call('EXISTS', unique_of) == 0 then
    return
  end
  local found = redis.call('HMGET', unique_of, unpack(ids))
  for i = 1, #ids do
    local held = found[i] and redis.call('HGET', uniques, found[i])
    if held and string.sub(held, 1, #ids[i]) == ids[i] and not redis.call('ZSCORE', unique_ends, found[i]) then
      redis.call('HDEL', uniques, found[i])
    end
  end
  redis.call('HDEL', unique_of, unpack(ids))
end

local function drop_from_batches(ids)
  if redis.call('EXISTS', batch_of) == 0 then
    return
  end
  local found = redis.call('HMGET', batch_of, unpack(ids))
  for i = 1, #ids do
    local batch = found[i]
    if batch and redis.call('HINCRBY', batches, batch .. '|kept', -1) <= 0 then
      redis.call('HDEL', batches, batch .. '|kept', batch .. '|total',
        batch .. '|succeeded', batch .. '|dead', batch .. '|cancelled', batch .. '|expired', batch .. '|removed')
    end
  end
  redis.call('HDEL', batch_of, unpack(ids))
end

local function forget(ids)
  redis.call('HDEL', outcomes, unpack(ids))
  redis.call('ZREM', expiries, unpack(ids))
  redis.call('ZREM', forgets, unpack(ids))
  for _, side in ipairs({progress, checkpoints, retains, unfit}) do
    drop_fields(side, ids)
  end
  drop_attempts(ids)
  unmark_failing(ids)
  drop_labels(ids)
  drop_keys(ids)
  drop_from_batches(ids)
  redis.call('HDEL', records, unpack(ids))
end
