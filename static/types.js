// @ts-check
/**
 * What the objects of the page are, for those who read it and for `make page-types`. Nothing here runs, and nothing is
 * imported by a browser. First the API's own, as openapi.json describes them; then the page's.
 *
 * Times are RFC 3339 text, durations milliseconds (`_ms`), names end as the API's do.
 */

/** @typedef {"live"|"pass"|"fail"|"skip"} Result */
/** @typedef {string|null} Time RFC 3339, null where there is none */
/** @typedef {{href: string}} Link */
/**
 * @template Item
 * @typedef {{items: Item[], next?: string|null}} Page
 */

// ------------------------------------------------------------------------------------------------ the API

/**
 * @typedef {object} About the daemon
 * @property {string} [name]
 * @property {string} [version]
 * @property {string} [epoch] of the database: another one means that all is another
 * @property {string} [now]
 * @property {string} [series_separator]
 * @property {number} [seq]
 * @property {boolean} [live_enabled]
 * @property {boolean} [token_required]
 */

/**
 * @typedef {object} Told what a problem+json says; `reasons` only where the server says what is wrong with itself
 * @property {string} [title]
 * @property {string} [detail]
 * @property {string} [reason]
 * @property {string} [path]
 * @property {string[]} [reasons]
 */

/** @typedef {{pass: number, fail: number, skip: number, live: number, migrated: number}} Counts */

/**
 * @typedef {object} Estimate when a regression will be over
 * @property {string} at
 * @property {Time} low
 * @property {Time} high
 * @property {string} basis `rate`, `history` or `rate+history`
 */

/**
 * @typedef {object} Regression
 * @property {number} id
 * @property {string} name
 * @property {string|null} series
 * @property {number|null} number
 * @property {"live"|"complete"|"aborted"|"tanked"} status
 * @property {string|null} reason
 * @property {string|null} component
 * @property {string|null} project
 * @property {string|null} branch
 * @property {string|null} tag
 * @property {number|null} submitted
 * @property {number|null} running
 * @property {Counts} counts
 * @property {number} new_signatures
 * @property {number} slow
 * @property {{done: number, total: number|null, percent: number|null}} progress
 * @property {Time} eta_at
 * @property {Estimate|null} eta
 * @property {Time} stalled_since
 * @property {Time} started_at
 * @property {Time} finished_at
 * @property {Time} last_activity_at
 * @property {Time} due_at
 * @property {number} elapsed_ms
 * @property {Stats} stats
 * @property {[string, string][]} custom_metadata
 * @property {Object<string, unknown>} fields all others that were told
 * @property {number} version
 * @property {number} [read_at] the page's own: when it was read, in ms since 1970 by the server's clock
 */

/**
 * @typedef {object} Stats
 * @property {number} compute_ms
 * @property {number} runtime_ms
 * @property {number} cycles
 * @property {number|null} cycles_per_s
 * @property {number|null} pass_rate
 */

/** @typedef {{done?: number, total?: number, unit?: string, rate?: number, note?: string}} Progress of a live job */

/**
 * @typedef {object} DeclaredFile of a job; `_links` in the list of its files only
 * @property {string} [kind]
 * @property {string} [name]
 * @property {string} [path]
 * @property {number} [size]
 * @property {{content?: Link}} [_links]
 */

/**
 * @typedef {object} Job
 * @property {number} id
 * @property {string} regression
 * @property {number} regression_id
 * @property {string|null} uniqueid
 * @property {string|null} name
 * @property {string|null} test
 * @property {string} category
 * @property {Result} result
 * @property {string|null} reason
 * @property {boolean} done
 * @property {boolean} migrated
 * @property {string|null} phase
 * @property {string|null} host
 * @property {string|null} config
 * @property {string|null} seed
 * @property {string|null} build
 * @property {string|null} testgroup
 * @property {string|null} jobdir
 * @property {Progress|null} progress
 * @property {Time} start_time
 * @property {Time} finish_time
 * @property {Time} submitted_at
 * @property {Time} started_at
 * @property {Time} finished_at
 * @property {Time} last_seen_at
 * @property {Time} due_at
 * @property {number|null} elapsed_ms
 * @property {number|null} usual_ms of a live job: what passes of its test take
 * @property {number|null} slow_after_ms of a live job: what 99 of 100 passes of its test stay under
 * @property {boolean} slow
 * @property {number|null} time_limit_ms
 * @property {number|null} compute_ms
 * @property {number|null} runtime_ms
 * @property {number|null} cycles
 * @property {number|null} cycles_per_s
 * @property {number|null} exit_code
 * @property {string|null} fail_message
 * @property {{id: number, title: string}|null} signature
 * @property {[string, string][]} metadata
 * @property {Object<string, string>} env
 * @property {string|null} results
 * @property {DeclaredFile[]} files
 * @property {Object<string, unknown>} extra all others that were told
 * @property {number} version
 * @property {number} [read_at] the page's own: when it was read, in ms since 1970 by the server's clock
 */

/**
 * @typedef {object} Example the shortest job of a signature; `pieces` of its message, each with whether it was left out
 * @property {number} id
 * @property {string|null} [name]
 * @property {string|null} [config]
 * @property {string|null} [uniqueid]
 * @property {string|null} [seed]
 * @property {number|null} [runtime_ms]
 * @property {string|null} fail_message
 * @property {[string, string][]} [metadata]
 * @property {Object<string, unknown>} [extra]
 * @property {[string, boolean][]|null} pieces
 */

/**
 * @typedef {object} Signature
 * @property {number} id
 * @property {string} category
 * @property {string} title
 * @property {number} count
 * @property {boolean} new
 * @property {Time} first_seen_at
 * @property {Time} last_seen_at
 * @property {{id: number, name: string|null}} first_regression
 * @property {{count: number, series: string[]}} elsewhere
 * @property {{host: string, count: number}[]} hosts
 * @property {number} hosts_count
 * @property {Example|null} example
 */

/**
 * @typedef {object} ApiEvent
 * @property {number} seq
 * @property {string} at
 * @property {string} type
 * @property {string} regression
 * @property {number} regression_id
 * @property {number|null} job
 * @property {EventData} data
 */

/**
 * @typedef {object} EventData what an event tells; `changed` holds `[before, after]` by field
 * @property {Result} [result]
 * @property {string|null} [reason]
 * @property {string|null} [phase]
 * @property {string|null} [description]
 * @property {string|null} [created_by]
 * @property {Progress|null} [progress]
 * @property {Object<string, unknown>} [changed]
 */

/**
 * @typedef {object} HistoryEntry of a job or a regression; in a story, `job` and `more` are the page's own
 * @property {number} seq
 * @property {string} created
 * @property {string} type
 * @property {Result|null} [result]
 * @property {string|null} [reason]
 * @property {string|null} [phase]
 * @property {string|null} [description]
 * @property {string|null} [created_by]
 * @property {(Progress & {running?: number})|null} [progress]
 * @property {Object<string, unknown>} [changed]
 * @property {number|null} [job]
 * @property {number} [more] how many of the same kind are not shown
 */

/**
 * @typedef {object} Run of a strip
 * @property {number} id
 * @property {string} [name]
 * @property {number|null} [number]
 * @property {Regression["status"]} status
 * @property {number} pass
 * @property {number} fail
 * @property {number|null} pass_rate
 */

/** @typedef {{series: string, runs: Run[]}} Series */

/**
 * @typedef {object} DiffEntry
 * @property {number} jobs
 * @property {number} fails
 * @property {number} base_jobs
 * @property {number} base_fails
 * @property {number|null} job
 * @property {number|null} base_job
 * @property {string} [config]
 * @property {string} [test]
 * @property {number} [runtime_ms]
 * @property {number} [base_runtime_ms]
 * @property {number} [percent]
 */

/** @typedef {"newly_failing"|"fixed"|"still_failing"|"missing"|"added"|"slower"|"faster"} DiffKind */
/** @typedef {DiffKind|"new_signatures"|"fixed_signatures"} DiffCount */
/** @typedef {{id: number, title: string, count: number}} DiffSignature */

/**
 * @typedef {object} DiffHead
 * @property {string} regression
 * @property {number} regression_id
 * @property {string} base
 * @property {number} base_id
 * @property {"config"|"test"} by
 * @property {Record<DiffCount, number>} counts
 * @property {{new: DiffSignature[], fixed: DiffSignature[], still: number}} signatures
 */

/** @typedef {DiffHead & Record<DiffKind, DiffEntry[]>} Diff */
/** @typedef {{counts: null}} NoDiff the comparison of a run that has no run before it */

/**
 * @typedef {object} Host
 * @property {string|null} host
 * @property {number} pass
 * @property {number} fail
 * @property {number} skip
 * @property {number} live
 * @property {number} runtime_ms
 * @property {number|null} fail_rate
 */

/**
 * @typedef {object} Timeline columns of jobs: `host` into `hosts`, `start` in ms since `from`, `length` null of live jobs
 * @property {string} from
 * @property {string} to
 * @property {string} now
 * @property {string[]} hosts
 * @property {number} jobs
 * @property {number} shown
 * @property {number[]} id
 * @property {number[]} host
 * @property {number[]} start
 * @property {(number|null)[]} length
 * @property {number[]} result
 */

/** @typedef {{from: string, step_ms: number, pass: number[], fail: number[], skip: number[]}} Finished jobs by step */
/** @typedef {{edges_ms: number[]|null, pass: number[], fail: number[]}} Runtimes jobs between two edges each */
/**
 * @typedef {{shown: number, of: number, id: number[], runtime_ms: number[], cycles: number[], result: number[]}} Points
 */
/** @typedef {{jobs: number, left_out: number, finished: Finished, runtime: Runtimes, cycles: Points}} Charts */

/**
 * @typedef {object} EarlierRun what became of a test in an earlier run
 * @property {number} regression_id
 * @property {string} regression
 * @property {number|null} number
 * @property {number} jobs
 * @property {number} pass
 * @property {number} fail
 * @property {number} skip
 * @property {number} job
 * @property {Result} result
 * @property {number|null} runtime_ms
 * @property {number|null} mean_runtime_ms
 * @property {string|null} host
 * @property {string|null} seed
 * @property {Time} finished_at
 * @property {boolean} same_seed
 */

/** @typedef {{test: string|null, usual_ms: number|null, slow_after_ms: number|null, items: EarlierRun[]}} Earlier */
/** @typedef {{offset: number, at?: Time, message: string}} LogLine */
/** @typedef {{first_offset: number, next_offset: number, complete: boolean, lines: LogLine[]}} LogPage */

// ------------------------------------------------------------------------------------------------ views

/** @typedef {Object<string, string>} Filter what the reader has chosen to see, as it stands in the address */
/** @typedef {{kind: "overview"|"regression"|"job"|"unknown", ref: string, filter: Filter}} View */
/** @typedef {{kind: View["kind"], ref?: string, filter?: Partial<Filter>}} Aim enough of a view for its address */
/** @typedef {import("./api.js").Problem} Problem */
/** @typedef {Object<string, any>} Parts the named parts of a template, which says what elements they are */
/** @typedef {"connecting"|"open"|"lost"|"paused"} Connection */
/** @typedef {{kind: string, n: number}} Segment of a bar */
/** @typedef {Segment & {word: string}} NamedSegment */
/** @typedef {ReturnType<typeof import("./livejobs.js").createLiveJobs>} LiveJobs */
/** @typedef {{id: number, job: Job, key: string|number|undefined, text: string|null, isThere: boolean}} LiveEntry */
/** @typedef {{id: string, host: string, count: number, job?: undefined}} HostHead above the jobs of a host */
/** @typedef {LiveEntry|HostHead} LiveRow */
/** @typedef {{lines: LogLine[], first: number, next: number, complete: boolean}} Log as far as it is read */

/**
 * @typedef {object} OverviewData
 * @property {Page<Regression>|null} list
 * @property {Map<string|null, Run[]>} strips
 * @property {boolean} onlyTanked
 */

/**
 * @typedef {object} RegressionData
 * @property {Regression|null} regression
 * @property {LiveJobs} live
 * @property {boolean} liveRead
 * @property {Page<Signature>|null} signatures
 * @property {JobPage|null} jobs
 * @property {Run[]|null} strip
 * @property {Diff|null} since
 * @property {Charts|null} charts
 * @property {Timeline|null} timeline
 * @property {Page<Host>|null} hosts
 * @property {Page<Regression>|null} runs
 * @property {Diff|NoDiff|null} diff
 * @property {Known<HistoryEntry>|null} history
 * @property {Known<ApiEvent>|null} deaths
 * @property {Map<number, NamedJob>} named
 */

/**
 * @template Item
 * @typedef {{items: Item[], next?: number|null}} Known what is known of a history
 */
/** @typedef {Pick<Job, "id"> & Partial<Job>} NamedJob a job of which no more than its id may be known */

/**
 * @typedef {object} JobData
 * @property {Job|null} job
 * @property {Known<HistoryEntry>|null} history
 * @property {Earlier|null} earlier
 * @property {Log|null} log
 * @property {Page<DeclaredFile>|null} files
 */

/**
 * @template Data
 * @typedef {object} State what a view is painted from
 * @property {string} root
 * @property {string} base
 * @property {number} now
 * @property {About} meta
 * @property {View} view
 * @property {Data} data
 * @property {Problem|null} problem
 * @property {Problem|null} filterProblem
 * @property {boolean} isLost
 */

/** @typedef {State<OverviewData>} OverviewState */
/** @typedef {State<RegressionData & {regression: Regression}>} RegressionState of a regression that is there */
/** @typedef {RegressionState & {domain: string}} TablesState `domain`: what all hosts have in common */
/** @typedef {State<JobData & {job: Job}>} JobState of a job that is there */
/** @typedef {State<any>} AnyState before it is known what is there */
/** @typedef {Page<Job> & {isOld?: boolean}} JobPage `isOld`: by the filter of before, until the answer has come */

/**
 * @typedef {object} OverviewActions
 * @property {(patch: Filter) => void} filter
 * @property {(name?: string) => Promise<void>} more
 */

/**
 * @typedef {object} RegressionActions
 * @property {(patch: Filter) => void} filter
 * @property {(name: string) => Promise<void>} more
 * @property {(name: string) => Promise<void>} moreSoon unasked, as the end comes into sight
 * @property {(address: string) => void} go
 * @property {(ids: number[]) => void} look the live jobs in sight
 * @property {() => void} repaint
 * @property {() => void} filterHelp
 * @property {(id: number) => void} chooseSignature
 * @property {() => void} badge
 * @property {() => void} tank
 * @property {() => void} untank
 * @property {() => void} finish
 */

/** @typedef {{tank: () => void, raw: () => Promise<unknown>}} JobActions */

// ------------------------------------------------------------------------------------------------ reading

/** @typedef {Object<string, string|number|string[]|null|undefined>} Query */
/** @typedef {ReturnType<typeof setTimeout>} Timer */
/** @typedef {(path: string, query?: Query, signal?: AbortSignal) => Promise<any>} Read gives what the API answers */

/**
 * @typedef {object} Clock
 * @property {() => number} now
 * @property {(work: () => unknown, ms: number) => Timer} setTimeout
 * @property {(timer: Timer|null|undefined) => void} clearTimeout
 */

/** @typedef {{log: Log, open: () => Promise<void>, close: () => void}} OpenLog */

/**
 * @typedef {object} WatchOwn
 * @property {Pick<ReturnType<typeof import("./api.js").createApi>, "read"|"list">} api
 * @property {(path: string, changed: () => void) => OpenLog} createLog
 * @property {() => void} changed something is to be painted
 * @property {() => void} answered data is as of now
 * @property {() => number} serverNow
 */

/** @typedef {Clock & WatchOwn} WatchEnv */
/** @typedef {typeof EventSource} Source how a stream is opened */

/**
 * @typedef {object} Watch see watch.js
 * @property {any} data
 * @property {(view: View) => void} filter
 * @property {(name?: any) => any} more
 * @property {(ids: number[]) => void} look
 * @property {() => Query|null} stream
 * @property {() => Problem|null} filterProblem
 * @property {(event: ApiEvent) => void} apply
 * @property {() => void} refresh
 * @property {() => void} pulse
 * @property {() => void} retry
 * @property {() => void} pause
 * @property {() => void} resume
 * @property {() => void} stop
 * @property {() => Problem|null} problem
 */

// ------------------------------------------------------------------------------------------------ pictures

/** @typedef {Object<string, string>} Colours by the names that page.css gives them */
/** @typedef {CanvasRenderingContext2D} Pen */
/** @typedef {(value: number) => number} Scale */
/** @typedef {{at: number, text: string}} Tick */
/** @typedef {string|number|null|undefined|{text: string|number, href: string}} Cell of a table behind a picture */
/** @typedef {{head: string[], body: Cell[][], note: string}} PictureTable */
/** @typedef {{at: number[], pass: number[], fail: number[], skip: number[], done: number[]}} Summed */
/** @typedef {{host: string, first: number, rows: number}} Lane */
/** @typedef {{hosts: Lane[], row: number[], rows: number}} Lanes */

export {};
