"""The steps of workers and enqueuers as scripts: each is atomic, so no process sees or leaves half of one.

``KEYS[1]`` is the app's prefix, ``{namespace}:``; every key begins with it. Times are Redis' own, in milliseconds::

    queues        set of the names of all queues; `paused` is the set of those that are paused
    jobs:QUEUE    sorted set of the ids of jobs that may run, by priority, then by due time
    later:QUEUE   sorted set of the ids of jobs that are not due yet, by due time
    running       sorted set of the ids of running jobs, by the end of their lease
    wake:QUEUE    list with one item if a waiting worker should look at the queue; workers block on it
    cancelled:WORKER  list of the ids of jobs of a worker that were cancelled; the worker blocks on it
    job:ID        hash: job params queue title priority state tries starts killed alone fence due_at progress result
                  error history worker started_at ended_at cancel key unique limit bounds
    STATE         sorted set of the ids of jobs that ended as done, failed, dead or cancelled, by time
    actions       set of QUEUE:ACTION; for each, `queued:QUEUE:ACTION` is a sorted set of the ids of jobs that wait, by
                  due time, and `failed:QUEUE:ACTION` and `dead:QUEUE:ACTION` of those that were given up
    workers       sorted set of the workers as JSON, by the time at which they were last heard of
    runs:SCHEDULE list of the last runs of a schedule as JSON, the latest first
    watched       exists while somebody listens to the pub/sub channel `jobs`, where events of jobs are published
    key:...       the id of the job that was enqueued with a key
    used:LIMIT    set of the ids of running jobs that share a limit
    rate:LIMIT    list of the times at which jobs of a limit started, latest first
    held:LIMIT    sorted set of the ids of jobs that wait for their limit, in the order of jobs:QUEUE
    held          sorted set of the limits that jobs wait for, by the time at which the limit allows another start

``fence`` is incremented for each worker that takes the job. ``starts`` counts workers that took it and did not say how
it ended; if there was one, the job is a suspect and runs alone. ``killed`` counts workers that died while it ran alone.
"""

from servey.jobs.redis.library import LIBRARY

ENQUEUE = (
    LIBRARY
    + """
local id, body, params, delay, queue, title, priority, unique, key, limit, bounds = unpack(ARGV)
local job, now = P .. 'job:' .. id, now_ms()
if key ~= '' then
  local first = call('GET', P .. 'key:' .. key)
  if first and call('EXISTS', P .. 'job:' .. first) == 1 then return first end
  call('SET', P .. 'key:' .. key, id)
  call('HSET', job, 'key', key, 'unique', unique)
end
if limit ~= '' then call('HSET', job, 'limit', limit, 'bounds', bounds) end
local due = now + delay
call('HSET', job, 'job', body, 'params', params, 'queue', queue, 'title', title, 'priority', priority, 'state', 'queued',
  'tries', 0, 'starts', 0, 'fence', 0, 'due_at', text(due))
call('SADD', P .. 'queues', queue)
call('SADD', P .. 'actions', queue .. ':' .. title)
put(id, queue, priority, due, now)
publish('queued', id, now, 'due_at', text(due))
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
write_while_full()
local now, taken, suspect, open = now_ms(), {}, false, {}

for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'running', '-inf', text(now), 'LIMIT', 0, 100)) do
  local known = redis.pcall('HMGET', P .. 'job:' .. id, 'queue', 'priority', 'due_at', 'limit', 'cancel')
  leave(id, known[4], now)
  if known[5] == '1' then
    call('HSET', P .. 'job:' .. id, 'state', 'cancelled', 'ended_at', text(now))
    ended(id, 'cancelled', keep, longest, now)
    publish('cancelled', id, now)
  elseif known[1] then
    local due = math.min(known[3], now)
    call('HSET', P .. 'job:' .. id, 'state', 'queued')
    put(id, known[1], known[2], due, now)
    publish('queued', id, now, 'due_at', text(due))
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

local shown_worker = cjson.encode(worker)
local function take(id, score)
  local job = P .. 'job:' .. id
  local read = redis.pcall('HMGET', job, 'job', 'params', 'tries', 'alone', 'history', 'worker', 'started_at', 'limit',
    'bounds', 'due_at', 'queue', 'title')
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
  if read[11] and read[12] then call('ZREM', P .. 'queued:' .. read[11] .. ':' .. read[12], id) end
  publish('started', id, now, 'tries', (tonumber(read[3]) or 0) + 1, 'worker', shown_worker)
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
redis.call('ZREM', KEYS[1] .. 'running', '')  -- after a write, a full Redis allows the next one
redis.call('ZADD', KEYS[1] .. 'running', 'XX', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3], ARGV[1])
return known[3] == '1' and 2 or 1
"""

FINISH = (
    LIBRARY
    + """
local keep, most = tonumber(ARGV[1]), tonumber(ARGV[2])

local function finish(id, fence, state, tries, result, error, wait, history)
  local job, now = P .. 'job:' .. id, now_ms()
  local known = call('HMGET', job, 'fence', 'state', 'queue', 'priority', 'limit', 'cancel', 'starts',
    'tries')
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
  if given_up then forget(id, known[2]) end
  if known[6] == '1' then state, result = 'cancelled', 'null' end
  local due = now + wait
  call('HSET', job, 'state', state, 'tries', tries, 'starts', 0, 'killed', 0, 'alone', 0, 'result', result, 'error', error,
    'due_at', text(due), 'history', history, 'ended_at', text(now))
  if state == 'queued' then
    put(id, known[3], known[4], due, now)
    -- A job that was put off has no try and no error.
    publish(known[8] ~= tries and 'retried' or 'queued', id, now, 'due_at', text(due), 'error', error)
    return 1
  end
  if state == 'done' then call('HDEL', job, 'params') end
  ended(id, state, keep, most, now)
  publish(state == 'done' and 'succeeded' or state, id, now, 'error', error)
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
publish('dead', id, now, 'error', error)
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
  publish('cancelled', id, now)
  return 1
end
call('HSET', job, 'state', 'queued', 'alone', 0)
call('HINCRBY', job, 'starts', -1)
put(id, known[3], known[4], now, now)
publish('queued', id, now, 'due_at', text(now))
return 1
"""
)

REPORT = (
    LIBRARY
    + """
local id, job = ARGV[1], P .. 'job:' .. ARGV[1]
if call('HGET', job, 'state') ~= 'running' then return 0 end
call('HSET', job, 'progress', ARGV[2])
publish('progressed', id, now_ms(), 'progress', ARGV[2])
return 1
"""
)
