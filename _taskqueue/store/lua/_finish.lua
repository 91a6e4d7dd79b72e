-- The end of tasks: the index of a terminal state, and all that counts ends. And the way back, for a re-drive.
-- keys:  succeeded, dead, cancelled, expired, batch_of, batches, retains, forgets
local ends = {succeeded = succeeded, dead = dead, cancelled = cancelled, expired = expired}

local function count_in_batches(ids, state, step)
  if redis.call('HLEN', batch_of) == 0 then
    return
  end
  local found = redis.call('HMGET', batch_of, unpack(ids))
  redis.call('ZADD', ends[state] or dead, 'XX', 0, '')  -- adds nothing; what would fail fails before anything is counted
  for i = 1, #ids do
    if found[i] then
      redis.call('HINCRBY', batches, found[i] .. '|' .. state, step)
    end
  end
end

local function time_forgetting(ids)
  if redis.call('HLEN', retains) == 0 then
    return
  end
  local kept = redis.call('HMGET', retains, unpack(ids))
  for i = 1, #ids do
    if kept[i] then
      redis.call('ZADD', forgets, now + kept[i], ids[i])
    end
  end
end

-- leave takes the tasks out of where they were, once they are where they go.
local function finish(state, ids, leave)
  if #ids == 0 then
    return
  end
  local scores = {}
  for i = 1, #ids do
    scores[i * 2 - 1] = now
    scores[i * 2] = ids[i]
  end
  time_forgetting(ids)
  if state ~= 'dead' then
    unmark_failing(ids)
  end
  count_in_batches(ids, state, 1)
  redis.call('ZADD', ends[state], unpack(scores))
  leave(ids)
  tally(state, #ids)
  tell(state, ids)
end

local function reopen(state, ids)
  count_in_batches(ids, state, -1)
  redis.call('ZREM', forgets, unpack(ids))
  unmark_failing(ids)
end
