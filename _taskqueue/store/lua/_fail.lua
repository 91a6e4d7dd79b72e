-- Tasks that fail now are marked with the fingerprint of their error; equal fingerprints are one group.
-- A fault is "fingerprint sample", the sample being the JSON that describes the group.
-- keys:  faults, failures, failing, labels
local GROUPS_MAX = 1000

local function unmark_failing(ids)
  if #ids == 0 or redis.call('HLEN', faults) == 0 then
    return
  end
  local marks = redis.call('HMGET', faults, unpack(ids))
  for i = 1, #ids do
    if marks[i] then
      redis.call('HDEL', faults, ids[i])
      redis.call('ZREM', labels, 'f:' .. marks[i] .. '\0' .. ids[i])
    end
  end
end

local function forget_groups()
  local over = redis.call('ZCARD', failing) - GROUPS_MAX
  if over > 0 then
    for _, print in ipairs(redis.call('ZRANGE', failing, 0, over - 1)) do
      redis.call('HDEL', failures, print, print .. ':count', print .. ':first')
      redis.call('ZREM', failing, print)
    end
  end
end

local function mark_failing(id, fault)
  local print, sample = string.match(fault, '^(%S+) (.*)$')
  if not print then
    return
  end
  local before = redis.call('HGET', faults, id)
  if before ~= print then
    unmark_failing({id})
    redis.call('HSET', faults, id, print)
    redis.call('ZADD', labels, 0, 'f:' .. print .. '\0' .. id)
  end
  redis.call('HSET', failures, print, sample)
  redis.call('HINCRBY', failures, print .. ':count', 1)
  redis.call('HSETNX', failures, print .. ':first', now)
  redis.call('ZADD', failing, now, print)
  forget_groups()
end
