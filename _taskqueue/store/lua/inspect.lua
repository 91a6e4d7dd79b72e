-- Read all there is about one task.
-- keys:  records, running, pending, unroutable, scheduled, retrying, succeeded, dead, cancelled, expired, outcomes, tries, history, progress, cancelling
-- args:  id, attempts_max:number
-- uses:  now
-- gives: nil when unknown, else {now, record, state, score, claim, tries, outcome, progress, cancel asked, attempts}
local record = redis.call('HGET', records, id)
if not record then
  return false
end
local state, score = '', ''
local claim = redis.call('HGET', running, id)
if claim then
  state = 'running'
else
  local indexes = {
    {'pending', pending}, {'pending', unroutable}, {'scheduled', scheduled}, {'retrying', retrying},
    {'succeeded', succeeded}, {'dead', dead}, {'cancelled', cancelled}, {'expired', expired},
  }
  for i = 1, #indexes do
    local found = redis.call('ZSCORE', indexes[i][2], id)
    if found then
      state, score = indexes[i][1], found
      if indexes[i][2] == unroutable then
        score = ''
      end
      break
    end
  end
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
  now, record, state, score, claim or '', past, redis.call('HGET', outcomes, id) or '',
  redis.call('HGET', progress, id) or '', redis.call('HEXISTS', cancelling, id), attempts,
}
