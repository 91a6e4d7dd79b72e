-- Settle finished attempts, promote what is due, claim the next: the hot path in one round trip.
-- Only the holder of the lease settles; a settlement that comes twice is refused the second time and changes nothing.
-- A call has a turn, kept when all is settled; one that comes again, or late, settles nothing: its tasks may be claimed
-- anew by this same lease.
-- A task with a past counts as started even when it is prefetched: it may be what killed its last worker. One that
-- lost suspect_at of them starts only with the report `start`, which says whether it runs alone.
-- moves: running -> succeeded, retrying, scheduled, dead, cancelled, pending; scheduled, retrying -> pending; scheduled, pending, retrying -> expired; pending -> running
-- keys:  leases, holdings, turns, running, records, pending, unroutable, scheduled, retrying, expiries, outcomes, tries, history, progress, logs, checkpoints, cancelling, patrols, settings, unfit
-- args:  lease, turn:number, lease_ms:number, head_start_ms:number, limit:number, slots:number, bytes_max:number, suspect_at:number, succeeded_count:number, ...
-- rest:  succeeded_count times (id, outcome), then per other report: verb, id, number, text, text, fault
-- uses:  sound, drain, now, wake, held, tell, tally, fail, finish, move
-- gives: nil when the lease is gone, else {now, µs to the next due task or -1, tasks held, newest unroutable, worst lateness ms, refused ids, ids to cancel, paused, claimed: id, score, record …, pasts: index, tries, checkpoint …, ids without a record}
local expiry = redis.call('ZSCORE', leases, lease)
if not expiry then
  return false
end
if tonumber(expiry) - now < lease_ms * 0.75 then
  redis.call('ZADD', leases, now + lease_ms, lease)
end

local repeated = turn > 0 and turn <= tonumber(redis.call('HGET', turns, lease) or 0)
if repeated then
  succeeded_count = 0
end

local mark = lease .. '|'
local mine, refused, left = #mark, {}, 0
local asked = redis.call('HLEN', cancelling) > 0

local function leave(ids)
  redis.call('HDEL', running, unpack(ids))
  if asked then
    redis.call('HDEL', cancelling, unpack(ids))
  end
  left = left + #ids
end

local function ends_asked(id)
  if not asked or redis.call('HEXISTS', cancelling, id) == 0 then
    return false
  end
  finish('cancelled', {id}, leave)
  return true
end

local function remember(id, claim, entry, fault)
  redis.call('HSET', tries, id, claim.attempt .. '|' .. claim.crashes)
  redis.call('HSET', history, id .. ':' .. (claim.attempt + claim.crashes), entry)
  mark_failing(id, fault)
end

local retried_ids, waiting_ids, snoozed_ids, progressed = {}, {}, {}, {}

local others = rest + succeeded_count * 2
if #ARGV > others and not repeated then
  local wrong = sound()
  if wrong then
    return wrong
  end
  redis.call('ZADD', pending, 'XX', 0, '')  -- adds nothing; what would fail fails before anything is remembered
  local function hold(id)
    local number = math.max(now, tonumber(redis.call('HGET', patrols, 'held') or 0) + 1)
    redis.call('HSET', patrols, 'held', number)
    redis.call('ZADD', unroutable, number, id)
    leave({id})
    waiting_ids[#waiting_ids + 1] = id
  end

  local reports = {
    retry = function(id, claim, number, entry, _, fault)
      remember(id, claim, entry, fault)
      if not ends_asked(id) then
        local priority = number % 16
        wait_in(retrying, id, now + (number - priority) / 16, priority)
        leave({id})
        retried_ids[#retried_ids + 1] = id
      end
    end,
    dead = function(id, claim, number, entry, outcome, fault)
      remember(id, claim, entry, fault)
      redis.call('HSET', outcomes, id, outcome)
      finish('dead', {id}, leave)
    end,
    cancel = function(id, claim, number, entry, outcome)
      redis.call('HSET', outcomes, id, outcome)
      finish('cancelled', {id}, leave)
    end,
    snooze = function(id, claim, number)
      if not ends_asked(id) then
        local priority = number % 16
        wait_in(scheduled, id, now + (number - priority) / 16, priority)
        leave({id})
        snoozed_ids[#snoozed_ids + 1] = id
      end
    end,
    release = function(id, claim)
      if not ends_asked(id) then
        redis.call('ZADD', pending, claim.score, id)
        leave({id})
        waiting_ids[#waiting_ids + 1] = id
        leave_token()
      end
    end,
    hold = function(id, claim)
      if not ends_asked(id) then
        hold(id)
      end
    end,
    misfit = function(id, claim, number, signature)
      if not ends_asked(id) then
        local before = redis.call('HGET', unfit, id) or ''
        if not string.find(before, signature .. ' ', 1, true) then
          redis.call('HSET', unfit, id, before .. signature .. ' ')
        end
        hold(id)
      end
    end,
    progress = function(id, claim, number, text)
      redis.call('HSET', progress, id, text)
      progressed[#progressed + 1] = id
    end,
    log = function(id, claim, number, text)
      redis.call('HSET', logs, id .. ':' .. (claim.attempt + claim.crashes), text)
    end,
    save = function(id, claim, number, text)
      redis.call('HSET', checkpoints, id, text)
    end,
    start = function(id, claim, number, flag)
      redis.call('HSET', running, id, write_claim(claim, flag))
    end,
  }
  for i = others + 1, #ARGV, 6 do
    local id = ARGV[i + 1]
    local held = redis.call('HGET', running, id)
    if held and string.sub(held, 1, mine) == mark then
      reports[ARGV[i]](id, read_claim(held), tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
    else
      refused[#refused + 1] = id
    end
  end
end

if succeeded_count > 0 then
  local ids = {}
  for i = 1, succeeded_count do
    ids[i] = ARGV[rest + i * 2 - 1]
  end
  local held = redis.call('HMGET', running, unpack(ids))
  local done, outcome_pairs = {}, {}
  for i = 1, succeeded_count do
    if held[i] and string.sub(held[i], 1, mine) == mark then
      local n = #done
      done[n + 1] = ids[i]
      outcome_pairs[n * 2 + 1] = ids[i]
      outcome_pairs[n * 2 + 2] = ARGV[rest + i * 2]
    else
      refused[#refused + 1] = ids[i]
    end
  end
  if #done > 0 then
    redis.call('HSET', outcomes, unpack(outcome_pairs))
    finish('succeeded', done, leave)
  end
end

if turn > 0 and not repeated then
  redis.call('HSET', turns, lease, turn)
end
tally('retried', #retried_ids)
tell('retrying', retried_ids)
tell('pending', waiting_ids)
tell('scheduled', snoozed_ids)
tell('progress', progressed)

local paused = redis.call('HEXISTS', settings, 'paused')
if expire(1000) == 1000 or paused == 1 then
  limit = 0
end
local promoted, late, due_in = promote_all(500)
local newest = redis.call('ZRANGE', unroutable, -1, -1, 'WITHSCORES')[2]

local claimed, claimed_ids, pasts, missing, taken, bytes, chunk = {}, {}, {}, {}, 0, 0, 8
local retried = limit > 0 and redis.call('HLEN', tries) > 0
local saved = limit > 0 and redis.call('HLEN', checkpoints) > 0
local last, more = false, false
if limit > 0 then
  redis.call('ZREMRANGEBYRANK', pending, 1, 0)  -- takes nothing away, but proves that it could
end
while taken < limit and not last do
  local wanted = math.min(chunk, limit - taken)
  local first = redis.call('ZRANGE', pending, 0, wanted, 'WITHSCORES')  -- and one that tells whether there is more
  local count, looked = math.min(#first / 2, wanted), 0
  if count == 0 then
    break
  end
  last = count < wanted
  local ids, values = {}, {}
  for i = 1, count do
    ids[i] = first[i * 2 - 1]
  end
  local bodies = redis.call('HMGET', records, unpack(ids))
  local past = retried and redis.call('HMGET', tries, unpack(ids))
  local kept = saved and redis.call('HMGET', checkpoints, unpack(ids))
  for i = 1, count do
    local id, score, body = ids[i], first[i * 2], bodies[i]
    if body and bytes > 0 and bytes + #body > bytes_max then
      last = true
      break
    end
    looked = i
    if body then
      local attempt, crashes = 1, 0
      local flag = taken < slots and 's' or 'p'
      local before = past and past[i] or '0|0'
      local checkpoint = kept and kept[i] or ''
      if past and past[i] or checkpoint ~= '' then
        local used, lost = string.match(before, '^(%d+)|(%d+)$')
        attempt, crashes = used + 1, tonumber(lost)
        flag = (crashes > 0 and crashes >= suspect_at) and 'p' or 's'
        pasts[#pasts + 1] = taken
        pasts[#pasts + 1] = before
        pasts[#pasts + 1] = checkpoint
      end
      values[#values + 1] = id
      values[#values + 1] = mark .. flag .. '|' .. attempt .. '|' .. crashes .. '|' .. now .. '|' .. score
      local at = taken * 3
      claimed[at + 1] = id
      claimed[at + 2] = score
      claimed[at + 3] = body
      bytes = bytes + #body
      taken = taken + 1
      claimed_ids[taken] = id
    else
      missing[#missing + 1] = id
    end
  end
  if #values > 0 then
    redis.call('HSET', running, unpack(values))
  end
  if looked > 0 then
    redis.call('ZREMRANGEBYRANK', pending, 0, looked - 1)
  end
  more = #first / 2 > looked
  chunk = math.min(chunk * 2, math.max(1, math.floor(bytes_max / (bytes / math.max(taken, 1) + 1))))
end

tally('claimed', taken)
tell('running', claimed_ids)

local holding = redis.call('HINCRBY', holdings, lease, taken - left)
if more or promoted > 0 and limit == 0 and redis.call('ZCARD', pending) > 0 then
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
return {now, due_in, holding, tonumber(newest) or 0, late, refused, to_cancel, paused, claimed, pasts, missing}
