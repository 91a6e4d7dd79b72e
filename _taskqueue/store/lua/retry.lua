-- Give failed tasks another try now, or start waiting ones ahead of their time; on request with a fresh history.
-- moves: retrying, dead, cancelled, expired, scheduled -> pending
-- keys:  leases, outcomes, tries, history, logs, unique_of
-- args:  from, reset:number, head_start_ms:number, ...
-- rest:  per task: id, priority; from lists the states it may come from
-- uses:  sound, check, drain, now, wake, tell, tally, find, fail, finish, unique
-- gives: per task the state it was in, or '' when it is unknown, and 1 when it is pending now; a task stays where it is while another holds its unique key
local was, moved = {}, {}

local function forget_attempts(id)
  local used, lost = string.match(redis.call('HGET', tries, id) or '0|0', '^(%d+)|(%d+)$')
  for number = 1, used + lost + 1 do
    redis.call('HDEL', history, id .. ':' .. number)
    redis.call('HDEL', logs, id .. ':' .. number)
  end
  redis.call('HDEL', tries, id)
end

local function take_key_back(id)
  local key = redis.call('HGET', unique_of, id)
  if not key then
    return true
  end
  local last = string.match(redis.call('HGET', uniques, key) or '', '^(.*)|.$')
  if last == id then
    return true
  end
  if holder_of(key) then
    return false
  end
  redis.call('ZREM', unique_ends, key)  -- the end of another's time
  redis.call('HSET', uniques, key, id .. '|a')
  return true
end

for i = rest + 1, #ARGV, 2 do
  local id = ARGV[i]
  local state, _, index = find(id)
  local fits = state and string.find(from, state, 1, true) and (not ends[state] or take_key_back(id))
  was[#was + 1], was[#was + 2] = state or '', fits and 1 or 0
  if fits then
    if ends[state] then
      reopen(state, {id})
    end
    redis.call('ZADD', pending, string.format('%.0f', now - ARGV[i + 1] * head_start_ms), id)
    redis.call('ZREM', index, id)
    redis.call('HDEL', outcomes, id)
    unmark_failing({id})
    if reset == 1 then
      forget_attempts(id)
    end
    moved[#moved + 1] = id
  end
end
if #moved > 0 then
  leave_token()
  tell('pending', moved)
end
return was
