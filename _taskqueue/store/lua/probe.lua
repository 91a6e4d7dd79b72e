-- Write something that goes by itself, and find out which of these commands the user of the store may not run.
-- Each is called on that key with as many words as it takes, which for all but those of strings is of another type.
-- keys:  index
-- args:  ...
-- rest:  names of commands
-- gives: those that are denied
local function denied(command)
  local words = {command}
  for _ = 1, 8 do
    local said = redis.pcall(unpack(words))
    local error = type(said) == 'table' and said.err or ''
    if not string.find(error, 'rong number of arg') then
      return string.find(error, 'permission') or string.find(error, 'The user executing the script')
    end
    words[#words + 1] = #words == 1 and index or '0'
  end
end

local written = redis.pcall('SET', index, '1', 'PX', 10000)
if written.err then
  return denied('SET') and {'SET'} or written
end
local found = {}
for i = rest + 1, #ARGV do
  if denied(ARGV[i]) then
    found[#found + 1] = ARGV[i]
  end
end
redis.call('SET', index, '1', 'PX', 10000)
return found
