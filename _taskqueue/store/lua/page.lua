-- The next ids of some state indexes in the order of their scores, from a position on.
-- keys:  pending, unroutable, scheduled, retrying, succeeded, dead, cancelled, expired
-- args:  descending:number, limit:number, ...
-- rest:  per index: its name, the score to begin at or '', the last id seen there or ''
-- gives: per index a list of id, score, …
local indexes = {
  pending = pending, unroutable = unroutable, scheduled = scheduled, retrying = retrying,
  succeeded = succeeded, dead = dead, cancelled = cancelled, expired = expired,
}
local STEP = 200

local function beyond(id, last)
  if descending == 1 then
    return id < last
  end
  return id > last
end

local function read(index, score, last)
  local found, skipped = {}, 0
  local low, high = score == '' and '-inf' or score, '+inf'
  if descending == 1 then
    low, high = score == '' and '+inf' or score, '-inf'
  end
  repeat
    local args = {'ZRANGE', index, low, high, 'BYSCORE', 'LIMIT', skipped, math.max(STEP, limit), 'WITHSCORES'}
    if descending == 1 then
      table.insert(args, 6, 'REV')
    end
    local part = redis.call(unpack(args))
    for i = 1, #part, 2 do
      local same = score ~= '' and tonumber(part[i + 1]) == tonumber(score)
      if (not same or beyond(part[i], last)) and #found < limit * 2 then
        found[#found + 1], found[#found + 2] = part[i], part[i + 1]
      end
    end
    skipped = skipped + #part / 2
  until #part / 2 < math.max(STEP, limit) or #found >= limit * 2
  return found
end

local answer = {}
for i = rest + 1, #ARGV, 3 do
  answer[#answer + 1] = read(indexes[ARGV[i]], ARGV[i + 1], ARGV[i + 2])
end
return answer
