-- Where a waiting task goes. A waiting score is the due time plus priority/16, so that promotion knows the priority;
-- a pending score is the time it became ready, less the head start of its priority.
-- keys:  pending, scheduled, retrying, unroutable, expiries
local function wait_in(index, id, due_ms, priority)
  redis.call('ZADD', index, due_ms + priority / 16, id)
end

-- gives: how many were promoted, the worst lateness, and the score of the first that is not due
local function promote(index, limit)
  local head = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
  if not head or math.floor(tonumber(head)) > now then
    return 0, 0, head
  end
  local due = redis.call('ZRANGE', index, '-inf', '(' .. string.format('%.0f', now + 1), 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
  local ids, scores = {}, {}
  for i = 1, #due, 2 do
    local score = tonumber(due[i + 1])
    local ready = math.floor(score)
    ids[#ids + 1] = due[i]
    scores[#scores + 1] = string.format('%.0f', ready - (score - ready) * 16 * head_start_ms)
    scores[#scores + 1] = due[i]
  end
  redis.call('ZADD', pending, unpack(scores))
  redis.call('ZREM', index, unpack(ids))
  tell('pending', ids)
  return #ids, now - math.floor(tonumber(due[2])), redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
end

-- gives: promoted of both indexes, the worst lateness, µs to the next due task or -1
local function promote_all(limit)
  local first, late, due = promote(scheduled, limit)
  local second, late_again, again = promote(retrying, limit)
  if due and again then
    due = math.min(tonumber(due), tonumber(again))
  end
  due = due or again
  return first + second, math.max(late, late_again), due and math.max(0, (math.floor(tonumber(due)) - now) * 1000 - past_us) or -1
end

local function expire(limit)
  local ids = redis.call('ZRANGE', expiries, '-inf', string.format('%.0f', now), 'BYSCORE', 'LIMIT', 0, limit)
  if #ids == 0 then
    return 0
  end
  local gone, from = {}, {}
  for i = 1, #ids do
    for _, place in ipairs({pending, scheduled, retrying, unroutable}) do
      if redis.call('ZSCORE', place, ids[i]) then
        gone[#gone + 1], from[#from + 1] = ids[i], place
        break
      end
    end
  end
  finish('expired', gone, function()
    for i = 1, #gone do
      redis.call('ZREM', from[i], gone[i])
    end
  end)
  redis.call('ZREM', expiries, unpack(ids))
  return #ids
end
