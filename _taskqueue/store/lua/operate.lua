-- Take a running operation in hand for a while, so that one process at a time works on it. At maxmemory too: the first
-- write removes nothing.
-- keys:  operations, operators
-- args:  id, operator, hold_ms:number
-- uses:  now
-- gives: the operation, or '' when another process has it in hand or it is gone
local held, until_ms = string.match(redis.call('HGET', operators, id) or '', '^(.*)|(%d+)$')
if held and held ~= operator and tonumber(until_ms) > now then
  return ''
end
local text = redis.call('HGET', operations, id)
if not text then
  redis.call('HDEL', operators, id)
  return ''
end
redis.call('HDEL', operators, '')
redis.call('HSET', operators, id, operator .. '|' .. (now + hold_ms))
return text
