-- Change a waiting task: its record is replaced if nobody changed it meanwhile, and it moves to its new place.
-- moves: pending -> scheduled; scheduled -> pending
-- keys:  leases, records, expiries, labelled, labels
-- args:  id, seen, record, old_priority:number, priority:number, run_at_ms, labels_new, head_start_ms:number
-- uses:  sound, check, now, wake, tell, tally, find, fail, finish
-- gives: {state it is in, 1 when it was changed, 0 when not, -1 when the record is not the one seen}
local state, score, index = find(id)
if not state then
  return {'', 0}
end
if state == 'running' or ends[state] then
  return {state, 0}
end
if redis.call('HGET', records, id) ~= seen then
  return {state, -1}
end
redis.call('ZADD', pending, 'XX', 0, '')  -- adds nothing; at maxmemory all of it is refused, and what would fail fails here
redis.call('HDEL', records, '')
redis.call('ZREM', leases, '')
redis.call('HSET', records, id, record)

for label in string.gmatch(redis.call('HGET', labelled, id) or '', '[^\n]+') do
  redis.call('ZREM', labels, label .. '\0' .. id)
end
redis.call('HDEL', labelled, id)
if labels_new ~= '' then
  redis.call('HSET', labelled, id, labels_new)
  for label in string.gmatch(labels_new, '[^\n]+') do
    redis.call('ZADD', labels, 0, label .. '\0' .. id)
  end
end

local target, due = index, nil
if run_at_ms ~= '' then
  due = tonumber(run_at_ms)
  if state ~= 'retrying' then
    target = due > now and scheduled or pending
  end
end
if target == unroutable then
  return {state, 1}
end
if target == pending then
  local ready = index == pending and not due and score + old_priority * head_start_ms or now
  redis.call('ZADD', pending, string.format('%.0f', ready - priority * head_start_ms), id)
  state = 'pending'
else
  redis.call('ZADD', target, (due or math.floor(score)) + priority / 16, id)
  state = target == scheduled and 'scheduled' or 'retrying'
end
if target ~= index then
  redis.call('ZREM', index, id)
end
leave_token()
tell(state, {id})
return {state, 1}
