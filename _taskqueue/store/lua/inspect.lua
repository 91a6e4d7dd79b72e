-- Read all there is about one task.
-- keys:  records, outcomes, tries, history, progress, cancelling, faults
-- args:  id, attempts_max:number
-- uses:  now, find
-- gives: nil when unknown, else {now, record, state, score, claim, tries, outcome, progress, cancel asked, attempts, fingerprint, in unroutable}
local record = redis.call('HGET', records, id)
if not record then
  return false
end
local state, score, index = find(id)
local claim = state == 'running' and score or ''
if state == 'running' or index == unroutable then
  score = ''
end
local past, attempts = redis.call('HGET', tries, id) or '', {}
if past ~= '' then
  local used, lost = string.match(past, '^(%d+)|(%d+)$')
  local total, fields = used + lost, {}
  for number = math.max(1, total - attempts_max + 1), total do
    fields[#fields + 1] = id .. ':' .. number
  end
  if #fields > 0 then
    attempts = redis.call('HMGET', history, unpack(fields))
  end
end
return {
  now, record, state or '', score or '', claim, past, redis.call('HGET', outcomes, id) or '',
  redis.call('HGET', progress, id) or '', redis.call('HEXISTS', cancelling, id), attempts,
  redis.call('HGET', faults, id) or '', index == unroutable and 1 or 0,
}
