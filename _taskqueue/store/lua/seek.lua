-- Seek records in no state, page by page: something else changed the keys, or a script was cut off. While there are no more
-- records than tasks in states there is nothing to seek.
-- keys:  records
-- args:  cursor, limit:number
-- uses:  find
-- gives: {next cursor or 0, ids}
local placed = redis.call('HLEN', running)
for i = 1, #places do
  placed = placed + redis.call('ZCARD', places[i][2])
end
if redis.call('HLEN', records) <= placed then
  return {'0', {}}
end
local page, lost = redis.call('HSCAN', records, cursor, 'COUNT', limit), {}
for i = 1, #page[2], 2 do
  if not find(page[2][i]) then
    lost[#lost + 1] = page[2][i]
  end
end
return {page[1], lost}
