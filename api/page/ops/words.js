/** Every string of the page, where the runbook says more, and how numbers and times are written. */

const RUNBOOK = 'ops/docs/runbook#';

/** What is shown -> the heading of the runbook that speaks of it. */
export const paragraphs = {
  state: 'how-old-the-numbers-are',
  partition: 'partitions-that-readers-see',
  phase: 'where-to-look-first',
  lag: 'position-and-lag',
  rate: 'events-a-second',
  commit: 'last-commit-and-last-call-to-redis',
  owner: 'owner',
  failure: 'failure',
  rejected: 'rejected-events',
  duplicates: 'duplicates',
  worker: 'workers',
  api: 'processes-of-the-api',
  redis: 'redis',
  topics: 'topics',
};

/** @param {keyof typeof paragraphs} of */
export const runbook = (of) => RUNBOOK + paragraphs[of];

export const states = { live: 'Live', catching_up: 'Catching up', stalled: 'Stalled' };

export const text = {
  noState: 'Readers get no numbers',
  nothing: '–',
  well: 'All is well.',
  wrong: (/** @type {string[]} */ all) => `Something is wrong: ${all.join('; ')}.`,
  deployment: (/** @type {string} */ group, /** @type {string} */ version) => `group ${group}, version ${version}`,
  age: (/** @type {string} */ age) => `numbers are ${age} old`,
  lost: (/** @type {string} */ why, /** @type {string} */ since) => `No answer from the API${why}. What is shown is of ${since}. Asking again.`,
  never: (/** @type {string} */ why) => `No answer from the API${why}. Asking again.`,
  unauthorized: 'The API wants a token, or does not know the one that it got.',
  forbidden: 'This token may not see how the deployment is: it lacks the scope ops:read.',
  ready: 'ready',
  notReady: 'not ready',
  place: (/** @type {number} */ partition, /** @type {number} */ offset) => `partition ${partition}, offset ${offset}`,
  noReject: 'none',
  asWanted: 'as they should be',
  differ: (/** @type {number} */ count) => `${count} settings differ`,
  of: (/** @type {number} */ found, /** @type {number} */ expected) => `${found} of ${expected}`,
};

export const titles = {
  partitions: { partition: 'Partition', phase: 'Phase', lag: 'Lag', rate: 'Events/s', position: 'Position', end: 'End', committed: 'Last commit', projected: 'Redis told', owner: 'Owner', failure: 'Failure' },
  rejected: { reason: 'Reason', count: 'Events', example: 'The latest' },
  workers: { worker: 'Worker', state: 'State', counted: 'Counted', duplicates: 'Duplicates', version: 'Version', started: 'Started', told: 'Told' },
  apis: { process: 'Process', answers: 'Answers', failed: 'Failed', streams: 'Live streams', version: 'Version', started: 'Started', told: 'Told' },
  facts: { state: 'Readers', partition: 'Partitions with numbers', lag: 'Events that wait', rate: 'Events a second', duplicates: 'Duplicates', rejected: 'Rejected', worker: 'Workers that are ready', api: 'Processes of the API', redis: 'Redis evicts by', topics: 'Topics' },
};

export const wrong = {
  positions: (/** @type {number} */ found, /** @type {number} */ expected) => `readers get 503: Redis has numbers of ${found} of ${expected} partitions`,
  empty: 'this Redis has nothing of the group: no worker of it has written here, or it was just emptied',
  noWorker: 'no worker reports itself',
  unowned: (/** @type {number} */ partition) => `no worker reports partition ${partition}`,
  failure: (/** @type {number} */ partition, /** @type {string} */ why) => `partition ${partition}: ${why}`,
  phase: (/** @type {number} */ partition, /** @type {string} */ phase) => `partition ${partition} is ${phase}`,
  worker: (/** @type {string} */ name, /** @type {string} */ why) => `worker ${name}: ${why}`,
  policy: (/** @type {string} */ policy) => `Redis evicts counts (maxmemory-policy ${policy})`,
  rejected: (/** @type {number} */ count, /** @type {number} */ events) => `${number(count)} of ${number(events)} events of the last 10 minutes were rejected`,
  state: (/** @type {string} */ word) => `readers' numbers are old (${word})`,
};

/** @param {number | null} value */
export const number = (value) => (value == null ? text.nothing : value.toLocaleString());

/** @param {number} seconds */
export function age(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

/** How long before the answer that was. @param {string | null} time @param {string} now */
export const ago = (time, now) => (time == null ? text.nothing : `${age(Math.max(0, (Date.parse(now) - Date.parse(time)) / 1000))} ago`);
