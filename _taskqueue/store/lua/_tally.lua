-- Counts by minute and series, for charts and rates; `trim` rolls old minutes up into hours.
-- keys:  stats
local function tally(series, count)
  if count > 0 then
    redis.call('HINCRBY', stats, 'm' .. math.floor(now / 60000) .. ':' .. series, count)
  end
end
