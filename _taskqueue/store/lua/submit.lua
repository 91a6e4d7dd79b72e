-- Accept new tasks of one queue: records stored, ids put where they wait.
-- Ids already known are skipped, so sending the same call again changes nothing; what makes an id known is its record,
-- which is therefore written when the task stands in its place. The first write can grow memory, so at maxmemory the whole
-- call is refused.
-- moves: new -> pending, scheduled; scheduled, pending, retrying -> cancelled
-- keys:  records, expiries, settings, labelled, unique_of
-- args:  head_start_ms:number, plain_count:number, ...
-- rest:  plain_count times id, record, terms = priority, or "priority;delay_ms;run_at_ms;expires_in_ms"; then per other task also: unique key, while, its end in ms or '', on conflict, batch, retain ms or '', labels joined by newlines
-- uses:  sound, now, wake, tell, tally, find, fail, finish, unique
-- gives: {now, tasks accepted now, tasks known before, per task not accepted: id, why = full or duplicate or conflict, id of the holder, its state or '', until when in ms or ''}
local ids, at, fresh, known, denied = {}, {}, {}, 0, {}
local others = rest + plain_count * 3
for i = rest + 1, others, 3 do
  ids[#ids + 1], at[#at + 1] = ARGV[i], i
end
for i = others + 1, #ARGV, 10 do
  ids[#ids + 1], at[#at + 1] = ARGV[i], i
end

local function deny(id, why, holder, state, until_ms)
  for _, word in ipairs({id, why, holder, state or '', until_ms or ''}) do
    denied[#denied + 1] = word
  end
end

local taken = {}
local function replace(holder)
  local state, _, index = find(holder)
  if not state or state == 'running' or ends[state] then
    return false
  end
  finish('cancelled', {holder}, function()
    redis.call('ZREM', index, holder)
    redis.call('ZREM', expiries, holder)
  end)
  return true
end

-- gives: whether the task may be stored, and whether it takes the place of another
local function take_key(id, key, mode, until_ms, on_conflict, has_room)
  local holder, state, until_held = taken[key], 'pending', nil
  if not holder then
    holder, state, until_held = holder_of(key)
  end
  if holder == id and state then  -- what a call left that failed half-way
    holder = false
  end
  local replaced = holder and on_conflict == 'replace' and replace(holder)
  if holder and not replaced then
    deny(id, on_conflict == 'return' and 'duplicate' or 'conflict', holder, state, until_held)
    return false
  end
  if not has_room and not replaced then
    deny(id, 'full', '')
    return false
  end
  taken[key] = id
  redis.call('HSET', uniques, key, id .. '|' .. (mode == 'ttl' and 't' or 'a'))
  redis.call('HSET', unique_of, id, key)
  if until_ms ~= '' then
    redis.call('ZADD', unique_ends, now + until_ms, key)
  else
    redis.call('ZREM', unique_ends, key)
  end
  return true, replaced
end

local room = tonumber(redis.call('HGET', settings, 'max_length') or 'inf') or math.huge
if room ~= math.huge then
  room = room - redis.call('ZCARD', pending) - redis.call('ZCARD', unroutable)
    - redis.call('ZCARD', scheduled) - redis.call('ZCARD', retrying)
end

local before = redis.call('HMGET', records, unpack(ids))
if #ARGV > others then
  local wrong = sound()
  if wrong then
    return wrong
  end
  redis.call('ZADD', pending, 'XX', 0, '')  -- adds nothing; what takes a key may write what cannot grow memory first
end
for i = 1, #ids do
  local place = at[i]
  local key = place > others and ARGV[place + 3] or ''
  if before[i] then
    known = known + 1
  elseif key ~= '' then
    local good, replaced = take_key(ids[i], key, ARGV[place + 4], ARGV[place + 5], ARGV[place + 6], room >= 1)
    if good then
      fresh[#fresh + 1] = place
      room = replaced and room or room - 1
    end
  elseif room < 1 then
    deny(ids[i], 'full', '')
  else
    fresh[#fresh + 1] = place
    room = room - 1
  end
end

local function keep_labels(id, text)
  redis.call('HSET', labelled, id, text)
  for label in string.gmatch(text, '[^\n]+') do
    redis.call('ZADD', labels, 0, label .. '\0' .. id)
  end
end

local function keep_extras(id, place)
  local batch, retain, text = ARGV[place + 7], ARGV[place + 8], ARGV[place + 9]
  if batch ~= '' then
    redis.call('HSET', batch_of, id, batch)
  end
  if retain ~= '' then
    redis.call('HSET', retains, id, retain)
  end
  if text ~= '' then
    keep_labels(id, text)
  end
end

local function count_batches()
  for i = 1, #fresh do
    local batch = fresh[i] > others and ARGV[fresh[i] + 7] or ''
    if batch ~= '' then
      redis.call('HINCRBY', batches, batch .. '|total', 1)
      redis.call('HINCRBY', batches, batch .. '|kept', 1)
    end
  end
end

local pairs_, ready, delayed, deadlines, accepted = {}, {}, {}, {}, {}
for i = 1, #fresh do
  local place = fresh[i]
  local id, record, terms = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  accepted[i] = id
  pairs_[#pairs_ + 1] = id
  pairs_[#pairs_ + 1] = record
  local priority, due = tonumber(terms), now
  if not priority then
    local p, delay, run_at, expires_in = string.match(terms, '^(%d);(%d*);(%d*);(%d*)$')
    priority = tonumber(p)
    due = tonumber(run_at) or now + (tonumber(delay) or 0)
    if expires_in ~= '' then
      deadlines[#deadlines + 1] = now + tonumber(expires_in)
      deadlines[#deadlines + 1] = id
    end
  end
  if due > now then
    delayed[#delayed + 1] = due + priority / 16
    delayed[#delayed + 1] = id
  else
    ready[#ready + 1] = string.format('%.0f', now - priority * head_start_ms)
    ready[#ready + 1] = id
  end
  if place > others then
    keep_extras(id, place)
  end
end

local first = #delayed > 0 and redis.call('ZRANGE', scheduled, 0, 0)[1]
if #ARGV > others then
  count_batches()
end
if #deadlines > 0 then
  redis.call('ZADD', expiries, unpack(deadlines))
end
if #ready > 0 then
  redis.call('ZADD', pending, unpack(ready))
end
if #delayed > 0 then
  redis.call('ZADD', scheduled, unpack(delayed))
end
if #fresh > 0 then
  redis.call('HSET', records, unpack(pairs_))
  tally('submitted', #fresh)
  tell('submitted', accepted)
end
if #ready > 0 or #delayed > 0 and redis.call('ZRANGE', scheduled, 0, 0)[1] ~= first then
  leave_token()
end
return {now, #fresh, known, unpack(denied)}
