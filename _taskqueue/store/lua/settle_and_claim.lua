-- Settle finished attempts, promote what is due, claim the next: the hot path in one round trip.
-- Only the holder of the lease settles; a settlement that comes twice is refused the second time and changes nothing.
-- moves: running -> succeeded, retrying, scheduled, dead, cancelled, pending; scheduled, retrying -> pending; scheduled, pending, retrying -> expired; pending -> running
-- keys:  leases, holdings, running, records, pending, unroutable, scheduled, retrying, succeeded, dead, cancelled, expired, expiries, outcomes, tries, history, progress, logs, checkpoints, cancelling, patrols, wake
-- args:  lease, lease_ms:number, head_start_ms:number, limit:number, slots:number, bytes_max:number, succeeded_count:number, ...
-- rest:  succeeded_count times (id, outcome), then per other report: verb, id, number, text, text
-- uses:  drain, now, wake, move, held
-- gives: nil when the lease is gone, else {now, ms to the next due task or -1, tasks held, newest unroutable, worst lateness ms, refused ids, ids to cancel, claimed: id, score, record …, pasts: index, tries, checkpoint …, ids without a record}
local expiry = redis.call('ZSCORE', leases, lease)
if not expiry then
  return false
end
if tonumber(expiry) - now < lease_ms * 0.75 then
  redis.call('ZADD', leases, now + lease_ms, lease)
end

local mark = lease .. '|'
local mine, refused, left = #mark, {}, 0
local asked = redis.call('EXISTS', cancelling) == 1

local function leave(id)
  redis.call('HDEL', running, id)
  left = left + 1
  return asked and redis.call('HDEL', cancelling, id) == 1
end

local function remember(id, claim, entry)
  redis.call('HSET', tries, id, claim.attempt .. '|' .. claim.crashes)
  redis.call('HSET', history, id .. ':' .. (claim.attempt + claim.crashes), entry)
end

local reports = {
  retry = function(id, claim, number, entry)
    remember(id, claim, entry)
    if leave(id) then
      redis.call('ZADD', cancelled, now, id)
    else
      local priority = number % 16
      wait_in(retrying, id, now + (number - priority) / 16, priority)
    end
  end,
  dead = function(id, claim, number, entry, outcome)
    remember(id, claim, entry)
    leave(id)
    redis.call('ZADD', dead, now, id)
    redis.call('HSET', outcomes, id, outcome)
  end,
  cancel = function(id, claim, number, entry, outcome)
    leave(id)
    redis.call('ZADD', cancelled, now, id)
    redis.call('HSET', outcomes, id, outcome)
  end,
  snooze = function(id, claim, number)
    if leave(id) then
      redis.call('ZADD', cancelled, now, id)
    else
      local priority = number % 16
      wait_in(scheduled, id, now + (number - priority) / 16, priority)
    end
  end,
  release = function(id, claim)
    if leave(id) then
      redis.call('ZADD', cancelled, now, id)
    else
      redis.call('ZADD', pending, claim.score, id)
      leave_token()
    end
  end,
  hold = function(id, claim)
    if leave(id) then
      redis.call('ZADD', cancelled, now, id)
    else
      redis.call('ZADD', unroutable, redis.call('HINCRBY', patrols, 'held', 1), id)
    end
  end,
  progress = function(id, claim, number, text)
    redis.call('HSET', progress, id, text)
  end,
  log = function(id, claim, number, text)
    redis.call('HSET', logs, id .. ':' .. (claim.attempt + claim.crashes), text)
  end,
  save = function(id, claim, number, text)
    redis.call('HSET', checkpoints, id, text)
  end,
}

local others = rest + succeeded_count * 2
for i = others + 1, #ARGV, 5 do
  local id = ARGV[i + 1]
  local held = redis.call('HGET', running, id)
  if held and string.sub(held, 1, mine) == mark then
    reports[ARGV[i]](id, read_claim(held), tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4])
  else
    refused[#refused + 1] = id
  end
end

if succeeded_count > 0 then
  local ids = {}
  for i = 1, succeeded_count do
    ids[i] = ARGV[rest + i * 2 - 1]
  end
  local held = redis.call('HMGET', running, unpack(ids))
  local scores, done, outcome_pairs = {}, {}, {}
  for i = 1, succeeded_count do
    if held[i] and string.sub(held[i], 1, mine) == mark then
      local n = #done
      done[n + 1] = ids[i]
      scores[n * 2 + 1] = now
      scores[n * 2 + 2] = ids[i]
      outcome_pairs[n * 2 + 1] = ids[i]
      outcome_pairs[n * 2 + 2] = ARGV[rest + i * 2]
    else
      refused[#refused + 1] = ids[i]
    end
  end
  if #done > 0 then
    redis.call('HDEL', running, unpack(done))
    redis.call('ZADD', succeeded, unpack(scores))
    redis.call('HSET', outcomes, unpack(outcome_pairs))
    if asked then
      redis.call('HDEL', cancelling, unpack(done))
    end
    left = left + #done
  end
end

local _, late = promote(scheduled, 500)
local _, late_again = promote(retrying, 500)
if expire(1000) == 1000 then
  limit = 0
end

local claimed, pasts, missing, taken, bytes, chunk = {}, {}, {}, 0, 0, 32
local retried = limit > 0 and redis.call('EXISTS', tries) == 1
local saved = limit > 0 and redis.call('EXISTS', checkpoints) == 1
while taken < limit and bytes < bytes_max do
  local popped = redis.call('ZPOPMIN', pending, math.min(chunk, limit - taken))
  local count = #popped / 2
  if count == 0 then
    break
  end
  local ids, values = {}, {}
  for i = 1, count do
    ids[i] = popped[i * 2 - 1]
  end
  local bodies = redis.call('HMGET', records, unpack(ids))
  local past = retried and redis.call('HMGET', tries, unpack(ids))
  local kept = saved and redis.call('HMGET', checkpoints, unpack(ids))
  for i = 1, count do
    local id, score, body = ids[i], popped[i * 2], bodies[i]
    if body then
      local attempt, crashes = 1, 0
      local before = past and past[i] or '0|0'
      local checkpoint = kept and kept[i] or ''
      if before ~= '0|0' or checkpoint ~= '' then
        local used, lost = string.match(before, '^(%d+)|(%d+)$')
        attempt, crashes = used + 1, tonumber(lost)
        pasts[#pasts + 1] = taken
        pasts[#pasts + 1] = before
        pasts[#pasts + 1] = checkpoint
      end
      local flag = taken < slots and '|s|' or '|p|'
      values[#values + 1] = id
      values[#values + 1] = lease .. flag .. attempt .. '|' .. crashes .. '|' .. now .. '|' .. score
      local at = taken * 3
      claimed[at + 1] = id
      claimed[at + 2] = score
      claimed[at + 3] = body
      bytes = bytes + #body
      taken = taken + 1
    else
      missing[#missing + 1] = id
    end
  end
  if #values > 0 then
    redis.call('HSET', running, unpack(values))
  end
  chunk = chunk * 2
end

local holding = redis.call('HINCRBY', holdings, lease, taken - left)
if taken > 0 and redis.call('ZCARD', pending) > 0 then
  leave_token()
end
local to_cancel = {}
if asked then
  local wanted = redis.call('HGETALL', cancelling)
  for i = 1, #wanted, 2 do
    if wanted[i + 1] == lease then
      to_cancel[#to_cancel + 1] = wanted[i]
    end
  end
end
local newest = redis.call('ZRANGE', unroutable, -1, -1, 'WITHSCORES')[2]
return {now, next_due(), holding, tonumber(newest) or 0, math.max(late, late_again), refused, to_cancel, claimed, pasts, missing}
