-- Accept new tasks of one queue: records stored, ids put where they wait.
-- Ids already known are skipped, so sending the same call again changes nothing. The first write can grow memory,
-- so at maxmemory the whole call is refused.
-- moves: new -> pending; new -> scheduled
-- keys:  records, pending, scheduled, expiries, wake
-- args:  head_start_ms:number, ...
-- rest:  per task: id, record, terms = priority, or "priority;delay_ms;run_at_ms;expires_in_ms"
-- uses:  now, wake
-- gives: {tasks accepted now, tasks known before}
local ids, fresh, known = {}, {}, 0
for i = rest + 1, #ARGV, 3 do
  ids[#ids + 1] = ARGV[i]
end
local before = redis.call('HMGET', records, unpack(ids))
for i = 1, #ids do
  if before[i] then
    known = known + 1
  else
    fresh[#fresh + 1] = rest + 1 + (i - 1) * 3
  end
end
if #fresh == 0 then
  return {0, known}
end

local pairs_, ready, delayed, deadlines = {}, {}, {}, {}
for i = 1, #fresh do
  local id, record, terms = ARGV[fresh[i]], ARGV[fresh[i] + 1], ARGV[fresh[i] + 2]
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
end

redis.call('HSET', records, unpack(pairs_))
if #deadlines > 0 then
  redis.call('ZADD', expiries, unpack(deadlines))
end
if #ready > 0 then
  redis.call('ZADD', pending, unpack(ready))
  leave_token()
end
if #delayed > 0 then
  local first = redis.call('ZRANGE', scheduled, 0, 0)[1]
  redis.call('ZADD', scheduled, unpack(delayed))
  if redis.call('ZRANGE', scheduled, 0, 0)[1] ~= first then
    leave_token()
  end
end
return {#fresh, known}
