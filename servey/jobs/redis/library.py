"""Functions in Lua that the scripts share; see `servey.jobs.redis.scripts` for the keys."""

LIBRARY = """
local P = KEYS[1]
local BAND = 8796093022208
local call = redis.call

local function now_ms()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A full Redis refuses commands that may need memory, but only until a script has written. What jobs that run and end
-- need is let through, since it makes room; the write changes nothing.
local function write_while_full() call('ZREM', P .. 'running', '') end

local function text(number) return string.format('%.0f', number) end

local function wake(queue)
  local key = P .. 'wake:' .. queue
  if call('EXISTS', key) == 0 then
    call('RPUSH', key, 1)
    call('PEXPIRE', key, 60000)
  end
end

-- Publish an event of a job if somebody listens; the rest are names and values in JSON.
local watched
local function publish(event, id, now, ...)
  if watched == nil then watched = call('EXISTS', P .. 'watched') == 1 end
  if not watched then return end
  local known = redis.pcall('HMGET', P .. 'job:' .. id, 'title', 'queue', 'tries')
  local body = '{"event":"job.' .. event .. '","id":' .. cjson.encode(id) .. ',"action":' .. cjson.encode(known[1] or '') ..
    ',"queue":' .. cjson.encode(known[2] or '') .. ',"at":' .. text(now)
  local rest = {'tries', known[3] or 0, ...}
  for i = 1, #rest, 2 do body = body .. ',"' .. rest[i] .. '":' .. rest[i + 1] end
  redis.pcall('PUBLISH', P .. 'jobs', body .. '}')
end

local function action_of(id)
  local known = redis.pcall('HMGET', P .. 'job:' .. id, 'queue', 'title')
  return known[1] and known[2] and known[1] .. ':' .. known[2]
end

local function put(id, queue, priority, due, now)
  local action = action_of(id)
  if action then call('ZADD', P .. 'queued:' .. action, text(due), id) end
  if due <= now then
    call('ZADD', P .. 'jobs:' .. queue, text(due - priority * BAND), id)
    wake(queue)
  else
    call('ZADD', P .. 'later:' .. queue, text(due), id)
    if call('ZRANK', P .. 'later:' .. queue, id) == 0 then wake(queue) end
  end
end

-- Return nil if a job of this limit may start, or else the time to look again: '+inf' is when another one ends.
local function blocked(limit, bounds, now)
  local concurrent, starts, period = string.match(bounds, '(%d+) (%d+) (%d+)')
  concurrent, starts = tonumber(concurrent), tonumber(starts)
  if concurrent > 0 and call('SCARD', P .. 'used:' .. limit) >= concurrent then return '+inf' end
  local first = starts > 0 and call('LINDEX', P .. 'rate:' .. limit, starts - 1)
  if first and first + period > now then return text(first + period) end
end

local function use(id, limit, bounds, now)
  local concurrent, starts, period = string.match(bounds, '(%d+) (%d+) (%d+)')
  if concurrent ~= '0' then call('SADD', P .. 'used:' .. limit, id) end
  if starts ~= '0' then
    call('LPUSH', P .. 'rate:' .. limit, text(now))
    call('LTRIM', P .. 'rate:' .. limit, 0, starts - 1)
    call('PEXPIRE', P .. 'rate:' .. limit, period)
  end
end

-- Let the next job that waits for a limit be taken, if the limit allows it.
local function refill(limit, now)
  local held = P .. 'held:' .. limit
  while true do
    local first = call('ZRANGE', held, 0, 0, 'WITHSCORES')
    if not first[1] then
      call('ZREM', P .. 'held', limit)
      return
    end
    local known = call('HMGET', P .. 'job:' .. first[1], 'queue', 'bounds')
    local again = known[2] and blocked(limit, known[2], now)
    if again then
      call('ZADD', P .. 'held', again, limit)
      return
    end
    call('ZREM', held, first[1])
    if known[1] then
      call('ZADD', P .. 'jobs:' .. known[1], first[2], first[1])
      wake(known[1])
      -- The next one is let go when this one is taken, or soon if it never is: it may be cancelled.
      if call('ZCARD', held) == 0 then
        call('ZREM', P .. 'held', limit)
      else
        call('ZADD', P .. 'held', text(now + 1000), limit)
      end
      return
    end
  end
end

local function leave(id, limit, now)
  call('ZREM', P .. 'running', id)
  if limit then
    call('SREM', P .. 'used:' .. limit, id)
    refill(limit, now)
  end
end

local function unlist(id, queue, limit)
  local action = action_of(id)
  if action then call('ZREM', P .. 'queued:' .. action, id) end
  call('ZREM', P .. 'jobs:' .. queue, id)
  call('ZREM', P .. 'later:' .. queue, id)
  if limit then call('ZREM', P .. 'held:' .. limit, id) end
end

-- Remove a job that ended in some state from the lists of that state.
local function forget(id, state)
  call('ZREM', P .. state, id)
  local action = (state == 'dead' or state == 'failed') and action_of(id)
  if action then call('ZREM', P .. state .. ':' .. action, id) end
end

-- List a job that has ended, and bound the list; the caller has set its fields.
local function ended(id, state, keep, most, now)
  local job, list = P .. 'job:' .. id, P .. state
  local known = call('HMGET', job, 'key', 'unique')
  local unique = tonumber(known[2] or 0)
  local action = (state == 'dead' or state == 'failed') and action_of(id)
  for _, each in ipairs({list, action and list .. ':' .. action or nil}) do
    call('ZADD', each, text(now), id)
    if state ~= 'dead' then
      call('ZREMRANGEBYSCORE', each, '-inf', text(now - keep))
      call('PEXPIRE', each, text(keep))
    end
  end
  if state ~= 'dead' then call('PEXPIRE', job, text(math.max(keep, unique))) end
  local surplus = call('ZCARD', list) - most
  if surplus > 0 then
    local popped = call('ZPOPMIN', list, surplus)
    for i = 1, #popped, 2 do
      forget(popped[i], state)
      if state == 'dead' then call('PEXPIRE', P .. 'job:' .. popped[i], text(keep)) end
    end
  end
  if known[1] and call('GET', P .. 'key:' .. known[1]) == id then call('PEXPIRE', P .. 'key:' .. known[1], text(unique)) end
end
"""
