-- Change the settings of a queue; an empty value takes one away.
-- keys:  settings
-- args:  ...
-- rest:  name, value, …
-- uses:  now, wake
-- gives: all settings as name, value, …
for i = rest + 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', settings, ARGV[i])
  else
    redis.call('HSET', settings, ARGV[i], ARGV[i + 1])
  end
end
leave_token()
return redis.call('HGETALL', settings)
