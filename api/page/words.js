/** Has every string that the page says, and writes names, numbers, dates and ages by the browser's locale. */

/** @typedef {import('./types.js').Query} Query */
/** @typedef {import('./types.js').Span} Span */

const LOCALE = undefined; // the browser's own
const UNITS = /** @type {const} */ ([['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]]);

/** @type {Map<string, any>} */
const formats = new Map();

/** A format of the browser's, made at its first use: making one takes milliseconds. @param {'DateTimeFormat' | 'NumberFormat'} kind @param {object} options */
function format(kind, options) {
  const key = kind + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl[kind](LOCALE, options));
  return formats.get(key);
}

/** The calendar is that of the date fields and of the API, where the locale has another too. @param {Intl.DateTimeFormatOptions} options @returns {Intl.DateTimeFormat} */
const dates = (options) => format('DateTimeFormat', { timeZone: 'UTC', calendar: 'gregory', ...options });

/** @param {Intl.NumberFormatOptions} options @returns {Intl.NumberFormat} */
const numbers = (options) => format('NumberFormat', { maximumFractionDigits: 1, ...options });

/**
 * The wall clock of an answer's time, as if it were UTC. The API writes every time in the query's zone, so the page needs no zone data
 * of its own, and shows what the API counted even where the browser's zone data is older.
 * @param {string} time `2026-11-17T00:00:00+08:00` or `2026-11-17`
 */
export const wall = (time) => new Date(`${time.length > 10 ? time.slice(0, 19) : `${time}T00:00:00`}Z`);

/** @param {string} time */
const offset = (time) => (time.endsWith('Z') ? '+00:00' : time.slice(-6));

/** The date some days later. @param {string} date `YYYY-MM-DD` @param {number} days */
export function dateAfter(date, days) {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * 86400000).toISOString().slice(0, 10);
}

// Names: publishers choose them, in any script

/** Marks that turn what follows, past the end of a name too. */
const TURNS = /[\u202A-\u202E\u2066-\u2069]/g;
const UNSEEN = /\p{DI}/gu;
const SEEN = /[^\s\p{DI}\p{Cc}\p{Cf}\p{Cs}\p{Mn}\p{Me}\u2800\u{1D159}]/u;
const LEFT_TO_RIGHT = /^[\0-\u058F]*$/;

/** @param {string} given */
export const straight = (given) => given.replace(TURNS, '');

/** A name as it is shown: where nothing of it is seen its id, and where nothing of that is seen the id's code points. @param {string | null | undefined} name @param {string} id */
export function named(name, id) {
  const shown = [name, id].find((one) => one && SEEN.test(one));
  return shown ? straight(shown) : [...id].map((one) => `U+${one.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}`).join(' ');
}

/** @param {string} id */
export const shownId = (id) => named(null, id);

/** A name within a sentence moves nothing around it. @param {string} name */
export const isolate = (name) => (LEFT_TO_RIGHT.test(name) ? name : `\u2068${name}\u2069`);

/** @typedef {{ user_id: string | null, user_name: string | null }} Named */

/** The ids of the users that show as one name. @type {Map<string, Set<string>>} */
const namesakes = new Map();

/** @param {string} shown */
const alike = (shown) => shown.normalize().replace(UNSEEN, '').replace(/\s+/g, ' ').trim();

/** Another workspace has other users. */
export const forgetUsers = () => namesakes.clear();

/** Takes note of users: whether one has the name of another. @param {Named[]} users */
export function meetUsers(users) {
  let shared = false;
  for (const { user_id: id, user_name: name } of users) {
    if (id == null) continue;
    const key = alike(named(name, id));
    const ids = namesakes.get(key) ?? new Set(key === text.noUser ? ['none'] : []);
    shared ||= ids.size > 0 && !ids.has(id);
    namesakes.set(key, ids.add(id));
  }
  return shared;
}

/** What a user is called, and the id where another is called the same. @param {Named} user @returns {[string, string | null]} */
export function userNames({ user_id: id, user_name: name }) {
  if (id == null || id === 'none') return [text.noUser, null];
  const shown = named(name, id);
  const shared = (namesakes.get(alike(shown))?.size ?? 0) > 1;
  return [shown, shared && shown !== shownId(id) ? shownId(id) : null];
}

/** The same as one text. @param {Named} user */
export function userName(user) {
  const [name, id] = userNames(user);
  return id ? `${isolate(name)} (${isolate(id)})` : name;
}

/** The dates of a bucket, both inclusive; an hour's are its day. @param {{ start: string, end: string }} span @param {string} interval */
export function datesOf(span, interval) {
  const first = span.start.slice(0, 10);
  const last = dateAfter(span.end.slice(0, 10), -1);
  return { from: first, to: interval === 'hour' || last < first ? first : last };
}

export const number = (/** @type {number} */ value) => numbers({}).format(value);
export const shortNumber = (/** @type {number} */ value) => (value < 10000 ? number(value) : numbers({ notation: 'compact' }).format(value));
const percents = (/** @type {number} */ ratio) => numbers({ style: 'percent' }).format(ratio);

/** A share; some is never 0%, and not all is never 100%. @param {number} part @param {number} all */
export function percent(part, all) {
  if (!(all > 0)) return text.nothing;
  const ratio = part / all;
  if (ratio > 0 && ratio < 0.0005) return `<${percents(0.001)}`;
  return ratio < 1 && ratio >= 0.9995 ? `>${percents(0.999)}` : percents(ratio);
}

/** @param {number} change in percent, rounded @param {number} difference its sign holds where the rounded change is 0 */
export function changed(change, difference) {
  if (!change) return (difference < 0 ? text.barelyFewer : text.barelyMore)(percents(0.001));
  return numbers({ style: 'percent', signDisplay: 'exceptZero' }).format(change / 100);
}

/** @param {number} count @param {string} one @param {string} many */
const counted = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;

/** `17 – 23 Nov 2026`. @param {string} from @param {string} to dates, both inclusive */
export function dateRange(from, to) {
  const day = dates({ day: 'numeric', month: 'short', year: 'numeric' });
  return from === to ? day.format(wall(from)) : day.formatRange(wall(from), wall(to));
}

/** Date and clock of an activity. @param {string} time */
export const moment = (time) => dates({ dateStyle: 'medium', timeStyle: 'medium' }).format(wall(time));

/** The same with its distance from UTC, which tells the two hours apart when clocks go back. @param {string} time */
export const exactMoment = (time) => `${moment(time)} (UTC${offset(time)})`;

/** How many characters the longest moment of a year has. */
export const longestMoment = () => Math.max(...Array.from({ length: 12 }, (_, month) => moment(`2026-${String(month + 1).padStart(2, '0')}-28T22:58:58Z`).length));

/** @param {Date} at */
const clockAt = (at) => dates({ hour: '2-digit', minute: '2-digit' }).format(at);

/** Clock only. @param {string} time */
const clock = (time) => clockAt(wall(time));

/**
 * A bucket in words, as the read-out says it.
 * @param {{ start: string, end: string }} span @param {string} interval @param {boolean} withOffset where the clocks change within the range
 */
export function bucket(span, interval, withOffset = false) {
  if (interval === 'hour') {
    const begins = wall(span.start);
    const day = dates({ weekday: 'short', day: 'numeric', month: 'short' }).format(begins);
    // By the clock that it begins with: where clocks go back, the wall reads at its end what it read at its start.
    const ends = new Date(begins.getTime() + Date.parse(span.end) - Date.parse(span.start));
    return `${day}, ${clockAt(begins)} – ${clockAt(ends)}${withOffset || offset(span.start) !== offset(span.end) ? ` (UTC${offset(span.start)})` : ''}`;
  }
  const { from, to } = datesOf(span, interval);
  return datesInWords(from, to);
}

/** @param {string} from @param {string} to */
const datesInWords = (from, to) => (from !== to ? dateRange(from, to) : dates({ weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' }).format(wall(from)));

/** A bucket under the axis. @param {string} start @param {string} interval @param {boolean} many whether the range spans years @param {boolean} newDay the first of its date, which is not midnight everywhere */
export function tick(start, interval, many, newDay) {
  const at = wall(start);
  if (interval === 'hour' && !newDay) return clockAt(at);
  if (interval === 'month') return dates(many ? { month: 'short', year: '2-digit' } : { month: 'short' }).format(at);
  return dates(many ? { day: 'numeric', month: 'short', year: '2-digit' } : { day: 'numeric', month: 'short' }).format(at);
}

/** Whether a range has more than one distance from UTC, so that an hour's clock alone does not name it. @param {Span[]} spans */
export const clocksChange = (spans) => spans.some((span) => offset(span.start) !== offset(spans[0].start));

/** `12 min`, in the largest unit that is at least one. @param {number} seconds */
export function age(seconds) {
  const [unit, size] = UNITS.find(([, length]) => seconds >= length) ?? UNITS[3];
  return numbers({ style: 'unit', unit, unitDisplay: 'short' }).format(Math.floor(seconds / size));
}

/** `as_of` on the clock of the query's zone; in UTC, said so, where this browser does not know the zone. @param {string} instant @param {string} timeZone */
export function instant(instant, timeZone) {
  const options = /** @type {const} */ ({ dateStyle: 'medium', timeStyle: 'medium' });
  try {
    return dates({ ...options, timeZone }).format(new Date(instant));
  } catch {
    return `${dates(options).format(new Date(instant))} UTC`;
  }
}

/** The date of the last moment before a time. @param {string} time @param {string} timeZone */
function dateBefore(time, timeZone) {
  const last = new Date(Date.parse(time) - 1);
  const options = /** @type {const} */ ({ year: 'numeric', month: '2-digit', day: '2-digit', timeZone });
  try {
    // A day does not begin at midnight everywhere: the zone knows.
    return new Intl.DateTimeFormat('sv', options).format(last);
  } catch {
    return new Date(wall(time).getTime() - 1).toISOString().slice(0, 10);
  }
}

/** The dates between two times, with the clock where the last is cut. @param {{ start: string, end: string }} span @param {string} timeZone @param {(from: string, to: string) => string} inWords */
function stretch({ start, end }, timeZone, inWords) {
  const from = start.slice(0, 10);
  const to = dateBefore(end, timeZone);
  const whole = from <= to && to !== end.slice(0, 10);
  return `${inWords(from, to < from ? from : to)}${whole ? '' : text.untilClock(clock(end))}`;
}

/** The earlier side in words, empty where nothing is compared. @param {Query} query */
export const earlierRange = ({ compare, timezone }) => (compare ? stretch({ start: compare.starts_at, end: compare.ends_at }, timezone, dateRange) : '');

/** An earlier bucket may be cut, and the last is as long as what is left. @param {{ start: string, end: string }} span @param {string} interval @param {string} timeZone */
export function earlierBucket(span, interval, timeZone) {
  if (interval !== 'hour') return stretch(span, timeZone, datesInWords);
  if (Date.parse(span.end) - Date.parse(span.start) <= 2 * 3_600_000) return bucket(span, interval);
  return dates({ day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' }).formatRange(wall(span.start), wall(span.end));
}

/** @type {Record<string, string>} */
export const periods = {
  today: 'Today', yesterday: 'Yesterday', last_7_days: 'Last 7 days', last_14_days: 'Last 14 days', last_30_days: 'Last 30 days',
  last_90_days: 'Last 90 days', this_week: 'This week', last_week: 'Last week', this_month: 'This month', last_month: 'Last month',
  this_year: 'This year', all: 'All time',
};

/** @type {Record<string, string>} */
export const intervals = { auto: 'Automatic', hour: 'Hour', day: 'Day', week: 'Week', month: 'Month' };

/** @type {Record<string, string>} */
export const comparisons = { previous_period: 'Previous period', previous_year: 'Previous year', none: 'Nothing' };

/** @type {Record<string, string>} */
export const activities = { '': 'Added and deleted', added: 'Added', deleted: 'Deleted' };

/** @type {Record<string, string>} */
export const sources = {
  __proto__: null, // a source may be called `constructor`
  incoming_message: 'Incoming Message', developer_api: 'Developer API', contact_import: 'Contact Import', user: 'User',
  echo_message: 'Echo Message', none: 'No source', '*': 'All other sources',
};

/** What each source means. @type {Record<string, string>} */
export const explanations = {
  __proto__: null,
  incoming_message: 'The contact wrote first',
  developer_api: 'Added through the API',
  contact_import: 'Added by an import',
  user: 'Added by a user in the product’s dialog',
  echo_message: 'The conversation was imported from the messaging channel',
  none: 'The event named no source',
  '*': 'The smallest sources together',
};

/** @type {Record<string, string>} */
export const bucketStates = {
  open: 'Still open: more may come',
  settling: 'Settling: not all of it is counted yet',
  future: 'Not begun',
};

/** @type {Record<string, string>} */
export const bucketKeys = { open: 'still open', settling: 'settling' };

/** @type {Record<string, string>} */
export const freshness = { live: 'Live', catching_up: 'Catching up', stalled: 'Stalled' };

/** @type {Record<string, string>} */
export const connections = {
  connecting: 'connecting', stream: 'by stream', polling: 'asking every 10 s', sharing: 'asking every 5 s', paused: 'paused while hidden', lost: 'connection lost',
  unavailable: 'not available yet',
};

/** @type {Record<string, string>} */
export const labels = {
  title: 'Contacts', skip: 'Skip to the report', workspace: 'Workspace', filters: 'Filters', more: 'More filters', period: 'Period', from: 'From', to: 'To',
  sources: 'Sources', users: 'Users', timezone: 'Time zone', interval: 'Interval', compare: 'Compare', added: 'Contacts added', deleted: 'Contacts deleted',
  addedByDate: 'Added by date', deletedByDate: 'Deleted by date', addedBySource: 'Added by source', byUser: 'By user', activities: 'Activity',
  time: 'Activity Time', contactId: 'Contact ID', contactName: 'Contact Name', activity: 'Activity', source: 'Source', user: 'User',
  fold: 'Fold imports', kind: 'Show', reset: 'Reset filters',
};

/** What is told to be asked for again. @type {Record<string, string>} */
export const parts = {
  added: labels.added, deleted: labels.deleted, 'added-by-date': labels.addedByDate, 'deleted-by-date': labels.deletedByDate,
  'added-by-source': labels.addedBySource, users: labels.byUser, activities: labels.activities, rows: labels.activities,
  filters: labels.filters, empty: labels.title, page: labels.title,
};

export const text = {
  notLive: 'Not live',
  partlyLive: 'Partly live',
  tooLong: (/** @type {number} */ days, /** @type {'from' | 'to'} */ edge, /** @type {string} */ date) => `At most ${number(days)} days: ${edge === 'from' ? 'not before' : 'not after'} ${dateRange(date, date)}.`,
  dates: (/** @type {string} */ first, /** @type {string} */ last) => `Dates lie in ${dateRange(first, last)}.`,
  askingFor: (/** @type {string[]} */ names) => `asking again for ${names.join(', ')}`,
  custom: 'Custom dates',
  noUser: 'No user',
  nothing: '–',
  total: 'Total',
  earlier: 'Earlier',
  untilClock: (/** @type {string} */ time) => `, until ${time}`,
  from: (/** @type {string} */ count, /** @type {string} */ range) => `from ${count} in ${range}`,
  notCompared: 'Not compared',
  noChange: 'no change',
  barelyFewer: (/** @type {string} */ least) => `<${least} fewer`,
  barelyMore: (/** @type {string} */ least) => `<${least} more`,
  fromZero: 'new',
  allSources: 'All sources',
  allUsers: 'All users',
  readOut: 'Arrow keys move from bar to bar, Enter shows its dates in the activity table.',
  share: (/** @type {string} */ value, /** @type {string} */ part) => `${value} (${part})`,
  tableShows: (/** @type {string} */ range) => `The table shows ${range}.`,
  toTable: 'Go to the table',
  zoom: 'Zoom in',
  allDates: 'Show all dates',
  options: (/** @type {string} */ name) => `Options for ${name}`,
  viewTable: 'View as table',
  viewChart: 'View as chart',
  copyCsv: 'Copy as CSV',
  copied: 'Copied to the clipboard.',
  notCopied: 'The browser did not allow copying.',
  download: (/** @type {string} */ format) => `Download ${format}`,
  address: (/** @type {string} */ format) => `${format} address`,
  showAll: 'Show all',
  showFewer: 'Show fewer',
  showingUsers: (/** @type {number} */ shown, /** @type {number} */ all) => `${number(shown)} of ${counted(all, 'user', 'users')}`,
  onlyUser: (/** @type {string} */ name) => `Show only ${isolate(name)}`,
  noUsers: 'Nobody added or deleted a contact in this period.',
  noAdded: 'No contact was added in this period.',
  noDeleted: 'No contact was deleted in this period.',
  noRows: 'No activity in this period.',
  activities: (/** @type {number} */ count) => counted(count, 'activity', 'activities'),
  newRows: (/** @type {number} */ count) => `${counted(count, 'new activity', 'new activities')} above`,
  showNew: 'Show',
  allRows: 'No earlier activities in this period.',
  allRowsAscending: 'No later activities in this period.',
  truncated: (/** @type {string} */ date) => `All activities are listed from ${date} on; earlier ones are counted, and only some may be listed.`,
  imported: (/** @type {number} */ count, /** @type {string} */ activity) => `Import: ${counted(count, 'contact', 'contacts')} ${activity}`,
  batch: (/** @type {string} */ id) => `Batch ${isolate(id)}`,
  loading: 'Loading…',
  tryAgain: 'Try again',
  failed: (/** @type {string} */ what) => `${what} could not be loaded.`,
  unavailable: 'Not available yet: the counts are still on their way. Asking again by itself.',
  lag: (/** @type {number} */ seconds) => (seconds < 2 ? 'just now' : `${age(seconds)} ago`),
  behind: (/** @type {string} */ time) => `${time} behind`,
  asOf: (/** @type {string} */ time) => `Every event up to ${time} is in these numbers.`,
  catchingUp: (/** @type {string} */ time) => `Catching up: these numbers are ${time} behind and moving. Recent bars may still grow.`,
  stalled: (/** @type {string} */ time) => `Counting has stalled: nothing after ${time} is in these numbers.`,
  lost: (/** @type {string} */ time) => `Connection lost. These are the numbers as of ${time}; trying again.`,
  search: 'Search by name',
  chooseSource: 'Filter by source',
  chooseUser: 'Filter by user',
  zones: 'Zones',
  noMatch: 'Nothing found',
  moreUsers: (/** @type {number} */ count) => `${counted(count, 'more user', 'more users')}: type to find them.`,
  chooseWorkspace: 'Choose a workspace',
  noWorkspaces: 'No workspace has sent an event yet',
  noWorkspacesYet: 'As soon as the first event is counted, its workspace appears here.',
  emptyWorkspace: (/** @type {string} */ workspace) => `Nothing has happened in ${workspace} yet`,
  firstEvent: 'Send the first event, and it appears here by itself within a second:',
  quietPeriod: 'Nothing happened in this period, with these filters.',
  showEverything: 'Show all time, unfiltered',
  tokenTitle: 'This report needs a token',
  tokenHelp: 'Paste a token that may read reports. It stays in this tab and is never put into an address.',
  tokenLabel: 'Token',
  tokenOpen: 'Open the report',
  tokenExpired: 'The token was not accepted: it may have expired. Paste a new one.',
  forbidden: (/** @type {string} */ workspace) => `This token may not read the workspace ${workspace}`,
  otherToken: 'Use another token',
  wrongLink: 'This link asks for something that the report does not know',
  removeParameter: (/** @type {string} */ name) => `Open without “${name}”`,
  openDefault: 'Open with the usual settings',
  notFound: 'There is no such workspace',
  fault: 'The report could not be opened',
  documentTitle: (/** @type {string} */ added, /** @type {string} */ deleted, /** @type {string} */ workspace) =>
    `${added} added, ${deleted} deleted · ${workspace}`,
};
