-- simscoped's database: one file that holds everything the daemon knows about regressions and their jobs.
--
-- Conventions
--   *_at    INTEGER, wall-clock time in milliseconds since 1970-01-01 UTC, of the daemon unless the column says "publisher".
--   *_ms    INTEGER, a duration in milliseconds.
--   *_tick  INTEGER, milliseconds that the daemon has been up over its whole life (see table daemon). All time limits are
--           counted in ticks, so neither a publisher's clock, nor a changed wall clock, nor downtime can end a job.
--   result  0 live, 1 pass, 2 fail, 3 skip.
--   JSON columns hold UTF-8 JSON text.
--
-- Two tiers. Tables regression, job and signature are the state. Tables event, receipt and settling are the record of how
-- it came about. Both are written in the same transaction, by one connection of one process. Readers may open the file at
-- any time (read-only); the views at the end are the stable place to read from.
--
-- To change the schema: raise user_version here, add the way from the version before to simscope_server/ledger/
-- migrations.py, and tell in CHANGELOG.md what happens to an existing file.

PRAGMA application_id = 0x73696d73;  -- "sims": a file without it is not ours and is left alone
PRAGMA user_version = 4;

-- The daemon itself: exactly one row.
CREATE TABLE daemon (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    epoch           TEXT NOT NULL,     -- random, made with the file: cursors and ETags of another file never match
    tick            INTEGER NOT NULL,  -- uptime clock, saved with every batch, and every second while a time limit runs
    seq             INTEGER NOT NULL,  -- last number taken by a change; never reused; begins at the ms since 1970
    last_job_id     INTEGER NOT NULL,  -- last job id given out; never reused, also after pruning
    last_receipt_id INTEGER NOT NULL,  -- the same for receipts
    events_from_seq INTEGER NOT NULL,  -- the event feed starts behind this number; older events serve histories only
    program         TEXT               -- which release wrote the file last, such as "simscoped 0.2.0"
) STRICT;

-- A regression: a named run of many jobs. Created by the first message that names it, whatever that message is.
--
-- Its status is derived, not stored (view regressions): 'tanked' if tanked_at is set; 'live' while ended is NULL; else
-- 'aborted' if results are missing, jobs were migrated or are still live; else 'complete'.
-- The n_* and sum_* columns are kept in the transaction of every change and always equal what COUNT and SUM would say.
CREATE TABLE regression (
    id               INTEGER PRIMARY KEY,
    name             TEXT NOT NULL UNIQUE,
    series           TEXT,              -- name up to the last separator if a number follows it, else NULL
    number           INTEGER,           -- that number
    component        TEXT,
    project          TEXT,
    branch           TEXT,              -- publisher's model_branch
    tag              TEXT,
    submitted        INTEGER,           -- publisher: how many jobs there will be; NULL not said
    running          INTEGER,           -- publisher: how many run on the farm now
    starttime_at     INTEGER,           -- publisher's starttime at start and finish: tells a new run under the same name from an old message
    time_limit_ms    INTEGER,           -- publisher's time_limit_hours; NULL none
    fields           TEXT NOT NULL,     -- JSON object: every field as published, merged
    ended            TEXT CHECK (ended IN ('finish', 'timeout', 'time-limit')),  -- how it ended; NULL: it has not
    ending           TEXT CHECK (ending IN ('finish', 'timeout', 'time-limit', 'tank')), -- decided, but its jobs are still being migrated
    tanked_at        INTEGER,           -- set: hidden from the default list
    tank_reason      TEXT,
    created_at       INTEGER NOT NULL,  -- first message of this run
    ended_at         INTEGER,
    last_activity_at INTEGER NOT NULL,  -- last message
    active_tick      INTEGER NOT NULL,  -- the same, in ticks: autotimeouthours counts from here
    first_tick       INTEGER NOT NULL,  -- the same in ticks: time_limit_ms counts from here
    limit_tick       INTEGER,           -- first_tick + time_limit_ms
    progress_seq     INTEGER,           -- its newest event that told how many jobs run and nothing else
    first_failure    INTEGER NOT NULL DEFAULT 0,  -- 1: regression.first_failure was told of this run
    new_signatures   INTEGER NOT NULL DEFAULT 0,  -- signatures that were first seen here (25 at most, then the overflow)
    n_pass           INTEGER NOT NULL DEFAULT 0,
    n_fail           INTEGER NOT NULL DEFAULT 0,  -- migrated ones included
    n_skip           INTEGER NOT NULL DEFAULT 0,
    n_live           INTEGER NOT NULL DEFAULT 0,
    n_migrated       INTEGER NOT NULL DEFAULT 0,  -- fails that are nobody's verdict but "never heard of again"
    sum_compute_ms   INTEGER NOT NULL DEFAULT 0,  -- sums over jobs with a verdict of their own
    sum_runtime_ms   INTEGER NOT NULL DEFAULT 0,
    sum_cycles       INTEGER NOT NULL DEFAULT 0,  -- a job counts for 0 to 2^48
    sum_cycle_compute_ms INTEGER NOT NULL DEFAULT 0,  -- compute time of those that told their cycles
    version          INTEGER NOT NULL            -- seq of the last change to it or to one of its jobs
) STRICT;

CREATE INDEX regression_series ON regression (series, number DESC) WHERE series IS NOT NULL;
-- Regressions that a timer can end; reader: deadlines. They are few, so no index follows the timers themselves, which move
-- with every message.
CREATE INDEX regression_open ON regression (id) WHERE ended IS NULL AND tanked_at IS NULL;
-- Ends that still have jobs to migrate; reader: deadlines.
CREATE INDEX regression_ending ON regression (id) WHERE (ending IS NOT NULL OR (ended IS NOT NULL AND n_live > 0));
-- The default list: live first, newest first, tanked left out.
CREATE INDEX regression_list ON regression ((ended IS NULL) DESC, id DESC) WHERE tanked_at IS NULL;

-- A job. The row is made at first sight and updated in place for ever: its id never changes and never dies, except by
-- pruning, which leaves a tombstone.
CREATE TABLE job (
    id            INTEGER PRIMARY KEY,
    regression_id INTEGER NOT NULL REFERENCES regression (id),
    key           ANY NOT NULL,      -- identity inside the regression: TEXT = uniqueid; BLOB = digest of the five fields
    result        INTEGER NOT NULL CHECK (result BETWEEN 0 AND 3),
    state         TEXT NOT NULL CHECK (state IN ('live', 'done', 'migrated', 'limited', 'tanked')),
                                     -- who gave the verdict: nobody yet, the publisher, the end of its regression,
                                     -- its own time limit, a person; migrated and tanked count as n_migrated
    reason        TEXT,              -- why: missing, timeout, time-limit, tanked; or the publisher's own with a finish
    category      TEXT NOT NULL,
    signature_id  INTEGER REFERENCES signature (id),  -- fails only
    test_id       INTEGER REFERENCES test (id),  -- what kind of job it is; NULL: it has neither name nor config
    name          TEXT,
    phase         TEXT,              -- free word of the publisher while live
    host          TEXT,
    config        TEXT,
    seed          TEXT,
    build         TEXT,
    testgroup     TEXT,
    jobdir        TEXT,
    start_at      INTEGER,           -- publisher's start_time
    finish_at     INTEGER,           -- publisher's finish_time
    verdict_start_at INTEGER,        -- start_time as the finish itself said it: a later one is a re-run
    compute_ms    INTEGER,
    runtime_ms    INTEGER,           -- as published; what counts as runtime is in view jobs
    cycles        INTEGER,
    exit_code     INTEGER,
    fail_message  TEXT,
    bucket        TEXT,              -- publisher's own signature title
    metadata      TEXT,              -- JSON object name -> value
    extra         TEXT,              -- JSON object: progress, env, results, files, username … and all unknown fields
    submitted_at  INTEGER NOT NULL,  -- first sight
    running_at    INTEGER,           -- first live message without a waiting phase
    done_at       INTEGER,           -- verdict
    seen_at       INTEGER NOT NULL,  -- last message about it
    seen_tick     INTEGER NOT NULL,  -- the same in ticks: prunelivedays counts from here
    running_tick  INTEGER,           -- running_at in ticks: time_limit_ms counts from here
    time_limit_ms INTEGER,           -- publisher's limit for this job; NULL none
    extended_ms   INTEGER,           -- added to time_limit_ms by hand, negative where the limit was drawn in; NULL nothing
    limit_tick    INTEGER,           -- running_tick + time_limit_ms + extended_ms
    progress_seq  INTEGER,           -- its newest event that told progress and nothing else: the next one replaces it
    version       INTEGER NOT NULL,  -- seq of its last change
    UNIQUE (regression_id, key)
) STRICT;

CREATE INDEX job_list ON job (regression_id, result, id);
CREATE INDEX job_signature ON job (regression_id, signature_id) WHERE result = 2;
-- Runs of a test, newest regression last; readers: how long its jobs usually take, what became of earlier ones.
CREATE INDEX job_test ON job (test_id, regression_id) WHERE result <> 0;
-- The time limits of live jobs; reader: deadlines.
CREATE INDEX job_limit ON job (limit_tick) WHERE result = 0 AND limit_tick IS NOT NULL;

-- What is left of a pruned job, so that its address can say "gone" and not "never was".
CREATE TABLE pruned_job (
    id            INTEGER PRIMARY KEY,  -- the job's id
    regression_id INTEGER NOT NULL,
    pruned_at     INTEGER NOT NULL
) STRICT;

-- How far the log of a job goes. Its lines lie in a file of their own, DB.logs, which is committed before this one and may
-- hold more than these offsets say: that is of no account.
CREATE TABLE log (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- what its lines are kept under there; never reused
    job_id       INTEGER UNIQUE REFERENCES job (id), -- NULL: its job was pruned or run again, its lines are to be deleted
    first_offset INTEGER NOT NULL,  -- the oldest line that is kept
    next_offset  INTEGER NOT NULL,  -- the number that the next line will have
    size         INTEGER NOT NULL   -- characters in all these lines
) STRICT;

-- Logs whose lines are to be deleted.
CREATE INDEX log_left ON log (id) WHERE job_id IS NULL;

-- A test: what jobs have in common that differ in their seed only. It is known by the category and the job's name or,
-- without one, its config with '*' in place of the seed's value.
CREATE TABLE test (
    id    INTEGER PRIMARY KEY,
    key   BLOB NOT NULL UNIQUE,      -- digest of category and the whole title: configs can be long
    title TEXT NOT NULL,             -- the first 500 characters
    category TEXT                    -- NULL: of a file of schema version 3, not filled in yet
) STRICT;

-- A signature: the bucket that equal fail messages of one category fall into, over all regressions.
CREATE TABLE signature (
    id            INTEGER PRIMARY KEY,
    category      TEXT NOT NULL,
    title         TEXT NOT NULL,
    first_seen_at INTEGER NOT NULL,
    first_regression_id INTEGER NOT NULL,  -- where it was new
    last_seen_at  INTEGER NOT NULL,
    UNIQUE (category, title)
) STRICT;

-- Where a signature was seen: in which series, or, for runs that belong to none, in which regression. Like first_seen_at
-- it stays when the job that showed it gets another verdict: it has been seen.
CREATE TABLE sighting (
    signature_id  INTEGER NOT NULL,
    series        TEXT NOT NULL,     -- or the regression's name
    last_seen_at  INTEGER NOT NULL,
    PRIMARY KEY (signature_id, series)
) STRICT, WITHOUT ROWID;

-- What happened, in order: written in the transaction of the change itself, so nobody ever sees one without the other.
-- History, long poll, stream and page are readers of this table.
CREATE TABLE event (
    seq           INTEGER PRIMARY KEY,
    at            INTEGER NOT NULL,
    type          TEXT NOT NULL,     -- e.g. job.failed, regression.finished; what it says is clear from its name
    regression_id INTEGER NOT NULL,
    job_id        INTEGER,           -- NULL: about the regression
    result        INTEGER,           -- the job's, at that moment
    origin        TEXT NOT NULL,     -- who caused it: spool:FILE, http:PEER, daemon:RULE
    data          TEXT               -- JSON object: description, reason, phase, progress, changed; NULL nothing to add
) STRICT;

CREATE INDEX event_job ON event (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX event_regression ON event (regression_id) WHERE job_id IS NULL;

-- What became of one delivery (a spool file or a request).
CREATE TABLE receipt (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,     -- path below the spool, or the peer of a request
    received_at INTEGER NOT NULL,
    applied     INTEGER NOT NULL,
    duplicate   INTEGER NOT NULL,
    ignored     INTEGER NOT NULL,
    rejected    INTEGER NOT NULL,
    details     TEXT               -- JSON array: the messages that were not plainly applied (the first 100); NULL none
) STRICT;

CREATE INDEX receipt_name ON receipt (name);
CREATE INDEX receipt_rejected ON receipt (id) WHERE rejected > 0;

-- Requests that carried an Idempotency-Key: sent again they change nothing and get the same answer. Kept as long as
-- receipts are.
CREATE TABLE idempotency (
    key    TEXT PRIMARY KEY,
    asked  TEXT NOT NULL,          -- what the request asked for: another request under the same key is refused
    answer TEXT NOT NULL,          -- JSON, as it was answered
    at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Spool files whose effect is committed but which may still lie in the work folder: one row per batch, written with it,
-- removed with a later one. After a crash these files are cleared away unread, so nothing is counted twice.
CREATE TABLE settling (
    id    INTEGER PRIMARY KEY,
    files TEXT NOT NULL            -- JSON array of [path below the work folder, inode, mtime in ns, receipt if anything was refused, else 0]
) STRICT;

-- The views below are what the page and other readers show. Times and durations as above.

-- Regressions with their status in words.
CREATE VIEW regressions AS
SELECT r.*,
       CASE WHEN r.tanked_at IS NOT NULL THEN 'tanked'
            WHEN r.ended IS NULL THEN 'live'
            WHEN (r.submitted > 0 AND r.n_pass + r.n_fail + r.n_skip - r.n_migrated < r.submitted)
                 OR r.n_migrated > 0 OR r.n_live > 0 THEN 'aborted'
            ELSE 'complete' END AS status,
       CASE WHEN r.tanked_at IS NOT NULL THEN r.tank_reason ELSE r.ended END AS status_reason,
       r.n_pass + r.n_fail + r.n_skip AS n_done
FROM regression AS r;

-- Jobs with result in words, signature and the runtime that counts: as published, else finish - start, else compute time.
CREATE VIEW jobs AS
SELECT j.*,
       r.name AS regression,
       CASE j.result WHEN 0 THEN 'live' WHEN 1 THEN 'pass' WHEN 2 THEN 'fail' ELSE 'skip' END AS result_name,
       CASE WHEN j.result = 0 THEN NULL
            WHEN j.runtime_ms IS NOT NULL THEN j.runtime_ms
            WHEN j.finish_at >= j.start_at THEN j.finish_at - j.start_at
            ELSE j.compute_ms END AS counted_runtime_ms,
       j.state IN ('migrated', 'tanked') AS migrated,
       s.title AS signature,
       t.title AS test
FROM job AS j
JOIN regression AS r ON r.id = j.regression_id
LEFT JOIN signature AS s ON s.id = j.signature_id
LEFT JOIN test AS t ON t.id = j.test_id;

-- How many jobs of a regression fell into which signature.
CREATE VIEW regression_signatures AS
SELECT j.regression_id, s.id, s.category, s.title, s.first_seen_at, s.first_regression_id, s.last_seen_at, COUNT(*) AS n
FROM job AS j
JOIN signature AS s ON s.id = j.signature_id
WHERE j.result = 2
GROUP BY j.regression_id, s.id;
