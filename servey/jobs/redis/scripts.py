"""The steps of workers and enqueuers as scripts: each is atomic, so no process sees or leaves half of one.

``KEYS[1]`` is the app's prefix, ``{namespace}:``; every key begins with it. Times are Redis' own, in milliseconds::

    queues        set of the names of all queues; `paused` is the set of those that are paused
    jobs:QUEUE    sorted set of the ids of jobs that may run, by priority, then by due time
    later:QUEUE   sorted set of the ids of jobs that are not due yet, by due time
    running       sorted set of the ids of running jobs, by the end of their lease
    wake:QUEUE    list with one item if a waiting worker should look at the queue; workers block on it
    cancelled:WORKER  list of the ids of jobs of a worker that were cancelled; the worker blocks on it
    job:ID        hash: job params queue priority state tries starts killed alone fence due_at progress result error
                  history worker started_at ended_at cancel key unique limit bounds
    STATE         sorted set of the ids of jobs that ended as done, failed, dead or cancelled, by time
    key:...       the id of the job that was enqueued with a key
    used:LIMIT    set of the ids of running jobs that share a limit
    rate:LIMIT    list of the times at which jobs of a limit started, latest first
    held:LIMIT    sorted set of the ids of jobs that wait for their limit, in the order of jobs:QUEUE
    held          sorted set of the limits that jobs wait for, by the time at which the limit allows another start

``fence`` is incremented for each worker that takes the job. ``starts`` counts workers that took it and did not say how
it ended; if there was one, the job is a suspect and runs alone. ``killed`` counts workers that died while it ran alone.
"""

LIBRARY = """
local P = KEYS[1]
local BAND = 8796093022208
local call = redis.call

local function now_ms()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function text(number) return string.format('%.0f', number) end

local function wake(queue)
  local key = P .. 'wake:' .. queue
  if call('EXISTS', key) == 0 then
    call('RPUSH', key, 1)
    call('PEXPIRE', key, 60000)
  end
end

local function put(id, queue, priority, due, now)
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
  call('ZREM', P .. 'jobs:' .. queue, id)
  call('ZREM', P .. 'later:' .. queue, id)
  if limit then call('ZREM', P .. 'held:' .. limit, id) end
end

-- List a job that has ended, and bound the list; the caller has set its fields.
local function ended(id, state, keep, most, now)
  local job, list = P .. 'job:' .. id, P .. state
  local known = call('HMGET', job, 'key', 'unique')
  local unique = tonumber(known[2] or 0)
  call('ZADD', list, text(now), id)
  if state ~= 'dead' then
    call('PEXPIRE', job, text(math.max(keep, unique)))
    call('ZREMRANGEBYSCORE', list, '-inf', text(now - keep))
    call('PEXPIRE', list, text(keep))
  end
  local surplus = call('ZCARD', list) - most
  if surplus > 0 then
    local popped = call('ZPOPMIN', list, surplus)
    if state == 'dead' then
      for i = 1, #popped, 2 do call('PEXPIRE', P .. 'job:' .. popped[i], text(keep)) end
    end
  end
  if known[1] and call('GET', P .. 'key:' .. known[1]) == id then call('PEXPIRE', P .. 'key:' .. known[1], text(unique)) end
end
"""

ENQUEUE = (
    LIBRARY
    + """
local id, body, params, delay, queue, priority, unique, key, limit, bounds = unpack(ARGV)
local job, now = P .. 'job:' .. id, now_ms()
if key ~= '' then
  local first = call('GET', P .. 'key:' .. key)
  if first and call('EXISTS', P .. 'job:' .. first) == 1 then return first end
  call('SET', P .. 'key:' .. key, id)
  call('HSET', job, 'key', key, 'unique', unique)
end
if limit ~= '' then call('HSET', job, 'limit', limit, 'bounds', bounds) end
local due = now + delay
call('HSET', job, 'job', body, 'params', params, 'queue', queue, 'priority', priority, 'state', 'queued', 'tries', 0,
  'starts', 0, 'fence', 0, 'due_at', text(due))
call('SADD', P .. 'queues', queue)
put(id, queue, priority, due, now)
return id
"""
)

TAKE = (
    LIBRARY
    + """
local most, lease, worker = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local keep, longest = tonumber(ARGV[4]), tonumber(ARGV[5])
local names = ARGV[6] == '1' and call('SMEMBERS', P .. 'queues') or {}
local looked_at = {P .. 'running', P .. 'held'}
for i = 7, #ARGV, 2 do
  looked_at[#looked_at + 1] = P .. 'jobs:' .. ARGV[i]
  looked_at[#looked_at + 1] = P .. 'later:' .. ARGV[i]
end
if call('EXISTS', unpack(looked_at)) == 0 then return {-1, {}, names} end
local now, taken, suspect, open = now_ms(), {}, false, {}

for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'running', '-inf', text(now), 'LIMIT', 0, 100)) do
  local known = redis.pcall('HMGET', P .. 'job:' .. id, 'queue', 'priority', 'due_at', 'limit', 'cancel')
  leave(id, known[4], now)
  if known[5] == '1' then
    call('HSET', P .. 'job:' .. id, 'state', 'cancelled', 'ended_at', text(now))
    ended(id, 'cancelled', keep, longest, now)
  elseif known[1] then
    call('HSET', P .. 'job:' .. id, 'state', 'queued')
    put(id, known[1], known[2], math.min(known[3], now), now)
  end
end
for _, limit in ipairs(call('ZRANGEBYSCORE', P .. 'held', '-inf', text(now), 'LIMIT', 0, 100)) do refill(limit, now) end
for i = 7, #ARGV, 2 do
  local queue = ARGV[i]
  if call('SISMEMBER', P .. 'paused', queue) == 0 then
    open[#open + 1] = {queue, tonumber(ARGV[i + 1])}
    local due = call('ZRANGEBYSCORE', P .. 'later:' .. queue, '-inf', text(now), 'WITHSCORES', 'LIMIT', 0, 1000)
    for j = 1, #due, 2 do
      local priority = redis.pcall('HGET', P .. 'job:' .. due[j], 'priority')
      call('ZADD', P .. 'jobs:' .. queue, text(due[j + 1] - (tonumber(priority) or 0) * BAND), due[j])
    end
    if #due > 0 then call('ZREMRANGEBYRANK', P .. 'later:' .. queue, 0, #due / 2 - 1) end
  end
end

local function take(id, score)
  local job = P .. 'job:' .. id
  local read = redis.pcall('HMGET', job, 'job', 'params', 'tries', 'alone', 'history', 'worker', 'started_at', 'limit',
    'bounds', 'due_at')
  if not read.err and not read[1] then
    call('DEL', job)
    return
  end
  local limit = read[8]
  local again = limit and blocked(limit, read[9], now)
  if again then
    call('ZADD', P .. 'held:' .. limit, score, id)
    call('ZADD', P .. 'held', again, limit)
    return
  end
  local fence = redis.pcall('HINCRBY', job, 'fence', 1)
  local starts = redis.pcall('HINCRBY', job, 'starts', 1)
  if read.err or type(fence) ~= 'number' or type(starts) ~= 'number' then
    taken[#taken + 1] = {id, '', '', 0, 0, 0, 0, '', '', 0, text(now), 0}
    return
  end
  local killed = 0
  if starts > 1 then
    suspect = true
    killed = redis.pcall('HINCRBY', job, 'killed', read[4] == '1' and 1 or 0)
    if type(killed) ~= 'number' then killed = 0 end
  end
  call('HSET', job, 'state', 'running', 'alone', 0, 'worker', worker, 'started_at', text(now))
  call('ZADD', P .. 'running', text(now + lease), id)
  if limit then
    use(id, limit, read[9], now)
    refill(limit, now)
  end
  taken[#taken + 1] = {id, read[1], read[2] or 'null', fence, starts, tonumber(read[3] or 0) or 0, killed,
    read[5] or '', read[6] or '', tonumber(read[7] or 0) or 0, text(now), tonumber(read[10] or 0) or 0}
end

-- Take so many jobs of a queue; return false if it has no more.
local function take_from(queue, want)
  while want > 0 and not suspect do
    local popped = call('ZPOPMIN', P .. 'jobs:' .. queue, want)
    if #popped == 0 then return false end
    local before = #taken
    for i = 1, #popped, 2 do
      if suspect then call('ZADD', P .. 'jobs:' .. queue, popped[i + 1], popped[i]) else take(popped[i], popped[i + 1]) end
    end
    want = want - (#taken - before)
  end
  return true
end

for _, each in ipairs(open) do each.more = take_from(each[1], math.min(each[2], most - #taken)) end
for _, each in ipairs(open) do
  if each.more then take_from(each[1], most - #taken) end
end

local full, wait = suspect or #taken == most, -1
local function sooner(first)
  if first[2] and first[2] ~= 'inf' then
    local left = math.max(0, first[2] - now)
    if wait < 0 or left < wait then wait = left end
  end
end
sooner(call('ZRANGE', P .. 'held', 0, 0, 'WITHSCORES'))
for _, each in ipairs(open) do
  local queue = each[1]
  local later, left = call('ZRANGE', P .. 'later:' .. queue, 0, 0, 'WITHSCORES'), call('ZCARD', P .. 'jobs:' .. queue)
  sooner(later)
  -- A full worker leaves what is left, and the due times, to another one.
  if full and (left > 0 or later[1]) then wake(queue) elseif left == 0 then call('DEL', P .. 'wake:' .. queue) end
end
return {wait, taken, names}
"""
)

ALONE = """
local job = KEYS[1] .. 'job:' .. ARGV[1]
if redis.call('HGET', job, 'fence') ~= ARGV[2] then return 0 end
redis.call('HSET', job, 'alone', ARGV[3])
return 1
"""

LOST, RENEWED, CANCELLED = range(3)
"""What `RENEW` returns."""

RENEW = """
local known = redis.call('HMGET', KEYS[1] .. 'job:' .. ARGV[1], 'fence', 'state', 'cancel')
if known[1] ~= ARGV[2] or known[2] ~= 'running' then return 0 end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1] .. 'running', 'XX', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3], ARGV[1])
return known[3] == '1' and 2 or 1
"""

FINISH = (
    LIBRARY
    + """
local keep, most = tonumber(ARGV[1]), tonumber(ARGV[2])

local function finish(id, fence, state, tries, result, error, wait, history)
  local job, now = P .. 'job:' .. id, now_ms()
  local known = call('HMGET', job, 'fence', 'state', 'queue', 'priority', 'limit', 'cancel', 'starts')
  local given_up = known[2] == 'failed' or known[2] == 'dead'
  if known[1] == fence then
    -- Its lease may have ended without another worker taking it.
    if known[2] ~= 'running' and not (known[2] == 'queued' and tonumber(known[7]) > 0) then return 0 end
  elseif state ~= 'done' or not (given_up or known[2] == 'running' or known[2] == 'queued') then
    -- A worker that was cut off: its success counts if it is the first, its failure does not.
    return 0
  end
  leave(id, known[5], now)
  if known[1] ~= fence or known[2] == 'queued' then unlist(id, known[3], known[5]) end
  if given_up then call('ZREM', P .. known[2], id) end
  if known[6] == '1' then state, result = 'cancelled', 'null' end
  local due = now + wait
  call('HSET', job, 'state', state, 'tries', tries, 'starts', 0, 'killed', 0, 'alone', 0, 'result', result, 'error', error,
    'due_at', text(due), 'history', history, 'ended_at', text(now))
  if state == 'queued' then
    put(id, known[3], known[4], due, now)
    return 1
  end
  if state == 'done' then call('HDEL', job, 'params') end
  ended(id, state, keep, most, now)
  return 1
end

-- An outcome that cannot be recorded is answered with its error; the others are recorded.
local answers = {}
for i = 3, #ARGV, 8 do
  local _, answer = pcall(finish, unpack(ARGV, i, i + 7))
  answers[#answers + 1] = type(answer) == 'table' and answer.err or answer
end
return answers
"""
)

GIVE_UP = (
    LIBRARY
    + """
local id, error, keep, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local job, now = P .. 'job:' .. id, now_ms()
if call('TYPE', job).ok ~= 'hash' then
  call('ZREM', P .. 'running', id)
  return 0
end
leave(id, call('HGET', job, 'limit'), now)
call('HSET', job, 'state', 'dead', 'error', error, 'ended_at', text(now))
ended(id, 'dead', keep, most, now)
return 1
"""
)

GIVE_BACK = (
    LIBRARY
    + """
local id, fence, keep, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local job, now = P .. 'job:' .. id, now_ms()
local known = call('HMGET', job, 'fence', 'state', 'queue', 'priority', 'limit', 'cancel')
if known[1] ~= fence or known[2] ~= 'running' then return 0 end
leave(id, known[5], now)
if known[6] == '1' then
  call('HSET', job, 'state', 'cancelled', 'ended_at', text(now))
  ended(id, 'cancelled', keep, most, now)
  return 1
end
call('HSET', job, 'state', 'queued', 'alone', 0)
call('HINCRBY', job, 'starts', -1)
put(id, known[3], known[4], now, now)
return 1
"""
)

REPORT = """
local job = KEYS[1] .. 'job:' .. ARGV[1]
if redis.call('HGET', job, 'state') ~= 'running' then return 0 end
redis.call('HSET', job, 'progress', ARGV[2])
return 1
"""
