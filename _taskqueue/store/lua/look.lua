-- Read many tasks for a list: their records cut to what a list shows.
-- keys:  records, outcomes, tries, history, progress, cancelling, faults
-- args:  bytes_max:number, ...
-- rest:  ids
-- uses:  now, find
-- gives: {now, then per task: record, its length, state, score or claim, in unroutable, tries, outcome, last attempt, progress, cancel asked, fingerprint}; unknown ones have an empty record
local function text(value)
  return value or ''
end

local answer = {now}
for i = rest + 1, #ARGV do
  local id = ARGV[i]
  local record = redis.call('HGET', records, id)
  local state, seen, index = find(id)
  if not record or not state then
    for _ = 1, 11 do
      answer[#answer + 1] = ''
    end
  else
    local past, last = redis.call('HGET', tries, id), ''
    if past then
      local used, lost = string.match(past, '^(%d+)|(%d+)$')
      last = text(redis.call('HGET', history, id .. ':' .. (used + lost)))
    end
    local row = {
      string.sub(record, 1, bytes_max), #record, state, seen, index == unroutable and 1 or 0, text(past),
      text(redis.call('HGET', outcomes, id)), last, text(redis.call('HGET', progress, id)),
      redis.call('HEXISTS', cancelling, id), text(redis.call('HGET', faults, id)),
    }
    for k = 1, #row do
      answer[#answer + 1] = row[k]
    end
  end
end
return answer
