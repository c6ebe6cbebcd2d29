/**
 * Which view does the address ask for, and how is it kept current? In order: the address, asking the API, a visit, drawing a report,
 * freshness, the live line, the controls, and what shows in place of a report. Choosers, guides and exports are loaded when first needed.
 */

import { ActivityTable, Chart, UserList, drawCard, fail, find, h, recover, say, set } from './components.js';
import * as words from './words.js';

/** @typedef {import('./types.js').Report} Report */
/** @typedef {import('./types.js').Freshness} Freshness */
/** @typedef {import('./types.js').Span} Span */
/** @typedef {import('./types.js').Choices} Choices */
/** @typedef {import('./types.js').AskOptions} AskOptions */
/** @typedef {import('./types.js').ProblemBody} ProblemBody */

const { text } = words;
const root = document.documentElement;
const REPORT_COMPONENTS = ['added', 'deleted', 'added-by-date', 'deleted-by-date', 'added-by-source', 'users'];
/** Parameters that are the page's own; all others are the API's, which names those that it does not know. */
const OWN = ['workspace', 'embed', 'table', 'imports'];
/** Parameters of the API that only the activity table has. */
const TABLE = ['activity', 'order', 'batches', 'batch'];
const POLL_MS = 10_000;
const FIRST_EVENT_MS = 2_500;
/** The API speaks every 15 s; a line that is silent for longer than two of these is dead. */
const SILENCE_MS = 35_000;
/** An answer that takes longer is none. */
const PATIENCE_MS = 20_000;
const TOKEN_KEY = 'contacts-report.token';

/** @param {string} name @returns {HTMLElement} */
export const component = (name) => find(document, `[data-component="${name}"]`);

// The address

export const address = () => new URLSearchParams(location.search);
const embedded = address().get('embed') === '1';

/** @param {URLSearchParams} parameters @param {string[]} without */
function pick(parameters, without) {
  const kept = new URLSearchParams();
  for (const [name, value] of parameters) if (!without.includes(name) && value !== '') kept.append(name, value);
  return kept;
}

/** What the report is asked with. */
const reportParameters = () => pick(address(), [...OWN, ...TABLE]);

/** What the activity table is asked with: the report's, a chosen bar's dates, and its own. */
function tableParameters() {
  const here = address();
  const parameters = pick(here, OWN);
  parameters.delete('compare');
  const [from, to] = (here.get('table') ?? '').split('..');
  if (from) {
    parameters.delete('period');
    parameters.set('from', from);
    parameters.set('to', to || from);
  }
  if (here.get('imports') !== 'open' && !here.has('batches') && !here.has('batch')) parameters.set('batches', 'fold');
  return parameters;
}

/** `source` or `user` of an address: repeated, or one with commas. @param {string} name */
export function chosen(name) {
  const values = address().getAll(name).filter(Boolean);
  return values.length === 1 ? values[0].split(',') : [...new Set(values)];
}

/** @param {URLSearchParams} parameters @param {string} name @param {string[]} values */
export function choose(parameters, name, values) {
  parameters.delete(name);
  for (const value of values) parameters.append(name, value);
  if (values.length === 1 && values[0].includes(',')) parameters.append(name, values[0]); // repeated, it is not split
}

/** Goes to another view: one entry of the history. @param {(parameters: URLSearchParams) => void} edit @param {'push' | 'replace'} [how] */
export function go(edit, how = 'push') {
  const parameters = address();
  edit(parameters);
  const next = `${location.pathname}?${parameters}`;
  if (next === `${location.pathname}${location.search}`) return;
  history[how === 'push' ? 'pushState' : 'replaceState'](null, '', next);
  if (how === 'push') void visit();
}

// Asking the API

/** An answer that is none: the status, and what the API says about it. Status 0: no answer at all. */
export class Problem extends Error {
  /** @param {number} status @param {ProblemBody} body @param {number} [retrySeconds] */
  constructor(status, body, retrySeconds = 5) {
    super(body.detail || body.title || String(status));
    this.status = status;
    this.body = body;
    this.retrySeconds = retrySeconds;
  }
}

/** @param {string | null} token */
export function keepToken(token) {
  try {
    if (token) sessionStorage.setItem(TOKEN_KEY, token);
    else sessionStorage.removeItem(TOKEN_KEY);
  } catch {
    // Storage is off: the token lives as long as the page.
  }
  heldToken = token;
}
/** @type {string | null} */
let heldToken = null;
export function token() {
  try {
    return heldToken ?? sessionStorage.getItem(TOKEN_KEY);
  } catch {
    return heldToken;
  }
}

/** The address of a resource of this workspace's report. @param {string} resource @param {URLSearchParams} [parameters] */
export function resourceAddress(resource, parameters = reportParameters()) {
  const path = `v1/workspaces/${encodeURIComponent(address().get('workspace') ?? '')}/reports/contacts${resource ? (resource.startsWith('.') ? resource : `/${resource}`) : ''}`;
  const query = String(parameters);
  return new URL(query ? `${path}?${query}` : path, document.baseURI).href;
}

/** @param {string} url @param {Record<string, string>} headers @param {AbortSignal} [signal] */
export async function request(url, headers, signal) {
  const held = token();
  let response;
  try {
    response = await fetch(url, { headers: held ? { ...headers, Authorization: `Bearer ${held}` } : headers, signal, cache: 'no-store' });
  } catch (failure) {
    if (signal?.aborted && signal.reason?.name !== 'TimeoutError') throw failure;
    throw new Problem(0, {});
  }
  if (response.ok || response.status === 304) return response;
  const body = await response.json().catch(() => ({}));
  throw new Problem(response.status, body ?? {}, Number(response.headers.get('Retry-After')) || 5);
}

/** @type {import('./types.js').Ask} a resource's JSON, null where it has not changed */
export async function ask(resource, parameters, { etag, signal } = {}) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const response = await request(resourceAddress(resource, parameters), { Accept: 'application/json', ...(etag ? { 'If-None-Match': etag } : {}) }, signal ? AbortSignal.any([signal, patience]) : patience);
  if (response.status === 304) {
    heard(response.headers.get('Contacts-As-Of'), Number(response.headers.get('Contacts-Lag-Seconds')));
    return null;
  }
  return { body: await response.json(), etag: response.headers.get('ETag') };
}

// A visit: the page comes to the address

let turn = 0;
/** @type {Report | null} */
export let report = null;
/** @type {Choices | null} */
export let choices = null;
let reportKey = '';
let choicesKey = '';
let tableKey = '';
let settled = Promise.resolve();

const table = new ActivityTable(component('activities'), ask, sourceLabel, () => go((to) => {
  if (to.get('order') === 'asc') to.delete('order');
  else to.set('order', 'asc');
}));
export const charts = {
  added: new Chart(component('added-by-date'), words.labels.addedByDate, chooseBar('added-by-date')),
  deleted: new Chart(component('deleted-by-date'), words.labels.deletedByDate, chooseBar('deleted-by-date')),
  sources: new Chart(component('added-by-source'), words.labels.addedBySource, chooseBar('added-by-source')),
};
export const users = new UserList(component('users'), (user) => go((to) => choose(to, 'user', [user])), async () => (await ask('users'))?.body.users ?? []);

/** Shows what the address asks for. Parts whose question is the same stay as they are. @returns {Promise<void>} */
export async function visit() {
  const mine = ++turn;
  const here = address();
  root.dataset.state = 'loading';
  root.dataset.workspace = here.get('workspace') ?? '';
  if (!here.get('workspace')) return chooseWorkspace();
  if (!here.get('timezone')) {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
    go((to) => to.set('timezone', zone), 'replace');
  }
  leaveGuide();
  drawControls();
  const key = resourceAddress('');
  const sameReport = key === reportKey && report && root.dataset.fault !== 'yes';
  const rows = resourceAddress('activities', tableParameters());
  const sameRows = rows === tableKey && component('activities').dataset.state === 'ready';
  root.dataset.fault = 'no';
  if (!sameReport) for (const name of REPORT_COMPONENTS) set(component(name), 'aria-busy', 'true');
  try {
    await Promise.all([
      sameReport ? settled : open(mine, key),
      sameRows ? null : openTable(mine, rows),
      here.has('source') || here.has('user') ? readChoices(mine) : null,
    ]);
    if (mine === turn) root.dataset.state = 'ready';
  } catch (problem) {
    if (mine === turn) await showProblem(problem);
  }
}

/** @param {number} mine @param {string} key */
async function open(mine, key) {
  live.stop();
  reportKey = '';
  const first = await live.start(mine);
  if (mine !== turn || !first) return;
  if (root.dataset.fault !== 'yes') reportKey = key;
  if (document.hidden) pause();
  await settled;
}

/** @param {number} mine @param {string} key */
async function openTable(mine, key) {
  const section = component('activities');
  set(section, 'aria-busy', 'true');
  tableKey = key;
  try {
    await table.open(tableParameters());
  } catch (problem) {
    if (mine !== turn) return;
    if (unshowable(problem)) throw problem;
    fail(section, message(problem, words.labels.activities), () => void openTable(turn, key), waits(problem));
  } finally {
    if (mine === turn) section.removeAttribute('aria-busy');
  }
}

/** The sources and users to filter by: asked for when a hand comes near the filters, or when the address names some. @param {number} mine */
export async function readChoices(mine = turn) {
  const key = resourceAddress('filters', new URLSearchParams());
  if (key === choicesKey) return choicesRead;
  choicesKey = key;
  choicesRead = askChoices(mine, key);
  return choicesRead;
}
let choicesRead = Promise.resolve();

/** @param {number} mine @param {string} key */
async function askChoices(mine, key) {
  const section = component('filters');
  try {
    const answer = await ask('filters', new URLSearchParams());
    if (key !== choicesKey || !answer) return;
    choices = answer.body;
    recover(section);
    drawControls();
    if (report) await drawSources(report);
  } catch (problem) {
    if (key !== choicesKey) return;
    choicesKey = '';
    if (mine !== turn) return;
    if (unshowable(problem)) throw problem;
    fail(section, message(problem, words.labels.filters), () => void readChoices());
  }
}

/** Nothing of the view can be shown: no or a wrong token, no such workspace, a wrong parameter. @param {unknown} problem */
const unshowable = (problem) => problem instanceof Problem && [400, 401, 403, 404].includes(problem.status);

/** The counts are on their way and the page asks again by itself. @param {unknown} problem */
export const waits = (problem) => problem instanceof Problem && problem.status === 503;

/** @param {unknown} problem @param {string} what */
export function message(problem, what) {
  if (!(problem instanceof Problem)) throw problem;
  return problem.status === 503 ? text.unavailable : `${text.failed(what)} ${problem.body.detail ?? ''}`.trim();
}

// Drawing a report

/** @param {Report} next @param {number} mine */
export async function show(next, mine) {
  if (mine !== turn) return;
  report = next;
  hear(next.freshness);
  drawRange(next);
  settled = drawParts(next, mine);
  await settled;
}

/** Each part in a task of its own, the numbers first. @param {Report} next @param {number} mine */
async function drawParts(next, mine) {
  drawCard(component('added'), next, 'added');
  drawCard(component('deleted'), next, 'deleted');
  done('added', 'deleted');
  users.draw(next.users, next.users_omitted.count);
  done('users');
  drawWarnings(next);
  document.title = text.documentTitle(words.number(next.added.count), words.number(next.deleted.count), address().get('workspace') ?? '');
  for (const kind of /** @type {const} */ (['added', 'deleted'])) {
    await charts[kind].draw(dateModel(next, kind));
    if (mine !== turn) return;
    component(`${kind}-by-date`).classList.toggle('zero', next[kind].count === 0);
    done(`${kind}-by-date`);
  }
  await drawSources(next);
  if (mine !== turn) return;
  done('added-by-source');
  void readEarlier(next, mine);
  void drawEmptiness(next);
  if (next.sources.names.some((name) => !(name in words.sources))) void readChoices().catch(() => {});
}

/** @param {...string} names */
function done(...names) {
  for (const name of names) {
    recover(component(name));
    component(name).removeAttribute('aria-busy');
  }
}

/** @param {Report} next @param {'added' | 'deleted'} kind @returns {import('./types.js').ChartModel} */
export function dateModel(next, kind) {
  return {
    none: kind === 'added' ? text.noAdded : text.noDeleted, spans: next.timeline, interval: next.query.interval, stacked: false,
    series: [{ name: kind, label: words.activities[kind], colour: kind, values: next.timeline.map((bucket) => bucket[kind]) }],
    earlier: earlier && earlier.key === earlierKey(next) ? alignEarlier(next, kind) : null,
  };
}

const COLOURS = ['incoming_message', 'developer_api', 'contact_import', 'user', 'echo_message'];
/** @param {string} name @param {number} place */
const colourOf = (name, place) => (name === 'none' ? 's-none' : name === '*' ? 's-rest' : COLOURS.includes(name) ? `s${COLOURS.indexOf(name)}` : `s${5 + ((place - 5) % 3)}`);

/** @param {string} name */
export function sourceLabel(name) {
  return choices?.sources.find((one) => one.source === name)?.label ?? words.sources[name] ?? name;
}

/** @param {Report} next */
export async function drawSources(next) {
  const { names, totals, timeline } = next.sources;
  drawLegend(next);
  await charts.sources.draw({
    none: text.noAdded, spans: timeline, interval: next.query.interval, stacked: true, earlier: null,
    series: names.map((name, place) => ({ name, label: sourceLabel(name), colour: colourOf(name, place), values: timeline.map((bucket) => bucket.added[name]) })),
  });
  component('added-by-source').classList.toggle('zero', names.every((name) => !totals[name]));
}

/** The legend tells each source's total and meaning, and sets the filter. @param {Report} next */
function drawLegend({ sources: { names, totals }, added }) {
  const list = find(component('added-by-source'), '.legend');
  const picked = chosen('source');
  const key = names.map((name) => `${name} ${sourceLabel(name)}`).join('\n');
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...names.map((name, place) => h('li', {},
      h('button', { type: 'button', 'data-name': name, disabled: name === '*', click: () => pickSource(name) },
        h('i', { class: `swatch ${colourOf(name, place)}` }), h('span', { class: 'name' }, sourceLabel(name)),
        h('span', { class: 'amount', 'data-source': name }), h('span', { class: 'share' }),
        h('small', {}, words.explanations[name] ?? '')))));
  }
  for (const button of list.querySelectorAll('button')) {
    const name = button.dataset.name ?? '';
    const amount = find(button, '.amount');
    set(amount, 'data-value', totals[name]);
    say(amount, words.number(totals[name]));
    say(find(button, '.share'), words.percent(totals[name], added.count));
    set(button, 'aria-pressed', String(picked.includes(name)));
    button.classList.toggle('off', picked.length > 0 && !picked.includes(name));
  }
}

/** @param {string} name */
function pickSource(name) {
  const picked = chosen('source');
  go((to) => choose(to, 'source', picked.includes(name) ? picked.filter((one) => one !== name) : [...picked, name]));
}

/** @param {Report} next */
function drawWarnings(next) {
  const list = find(document, '#warnings');
  const told = next.warnings.map(({ message }) => message);
  if (list.dataset.told === told.join('\n')) return;
  list.dataset.told = told.join('\n');
  list.replaceChildren(...told.map((one) => h('li', {}, one)));
  list.hidden = !told.length;
}

// The earlier side's bars: another range of the same resource, asked for after the report is shown

/** @type {{ key: string, buckets: import('./types.js').Bucket[] } | null} */
let earlier = null;

/** @param {Report} next */
const earlierKey = ({ query, added, deleted }) => (query.compare ? JSON.stringify([address().get('workspace'), query.compare, query.interval, query.week_start, query.timezone, query.sources, query.users, added.previous, deleted.previous]) : '');

/** @param {Report} next @param {number} mine */
async function readEarlier(next, mine) {
  const { compare, interval } = next.query;
  const key = earlierKey(next);
  if (!compare || earlier?.key === key) return;
  const parameters = reportParameters();
  parameters.delete('period');
  const from = compare.starts_at.slice(0, 10);
  const to = words.earlierTo(compare);
  for (const [name, value] of Object.entries({ from, to: to < from ? from : to, interval, compare: 'none' })) parameters.set(name, value);
  try {
    const answer = await ask('timeline', parameters);
    if (mine !== turn || !answer || !report || earlierKey(report) !== key) return;
    earlier = { key, buckets: answer.body.timeline };
    for (const kind of /** @type {const} */ (['added', 'deleted'])) await charts[kind].draw(dateModel(report, kind));
  } catch {
    earlier = { key, buckets: [] }; // The cards still compare; the charts go without.
  }
}

/** The earlier bucket in the same place: the same day of the range, and for hours the same clock. @param {Report} next @param {'added' | 'deleted'} kind */
function alignEarlier(next, kind) {
  const buckets = earlier?.buckets ?? [];
  /** @param {{ start: string }} one @param {string} first */
  const clockOf = (one, first) => `${Math.round((Date.parse(one.start.slice(0, 10)) - Date.parse(first)) / 86400000)} ${one.start.slice(11, 13)}`;
  /** @param {import('./types.js').Bucket | undefined} one */
  const given = (one) => (one ? { start: one.start, end: one.end, value: one[kind] } : null);
  if (next.query.interval !== 'hour') return next.timeline.map((_, index) => given(buckets[index]));
  const byClock = new Map(buckets.map((one) => [clockOf(one, buckets[0].start.slice(0, 10)), one]));
  return next.timeline.map((one) => given(byClock.get(clockOf(one, next.query.from))));
}

// A bar was chosen: the table shows its dates, and one step more zooms into them

/** @param {string} name @returns {(span: Span) => void} */
function chooseBar(name) {
  return (span) => {
    const { from, to } = words.datesOf(span, report?.query.interval ?? 'day');
    chosenIn = name;
    go((next) => next.set('table', from === to ? from : `${from}..${to}`));
    drawChosen();
  };
}
let chosenIn = 'activities';

function drawChosen() {
  const [from, last] = (address().get('table') ?? '').split('..');
  const to = last || from;
  for (const bar of document.querySelectorAll('.chosen')) bar.remove();
  if (!from) return;
  const range = /^\d{4}-\d\d-\d\d$/.test(from) && /^\d{4}-\d\d-\d\d$/.test(to) ? words.dateRange(from, to) : from;
  for (const name of new Set([chosenIn, 'activities'])) {
    const section = component(name);
    // Below a chart, so that its bars stay where the hand is.
    const beside = name === 'activities' ? find(section, '.body') : null;
    section.insertBefore(h('div', { class: 'chosen' }, h('span', {}, text.tableShows(range)),
      name === 'activities' ? null : h('button', { type: 'button', click: () => component('activities').scrollIntoView({ block: 'start' }) }, text.toTable),
      h('button', { type: 'button', click: () => zoom(from, to) }, text.zoom),
      h('button', { type: 'button', click: () => go((next) => next.delete('table')) }, text.allDates)), beside);
  }
}

/** @param {string} from @param {string} to */
function zoom(from, to) {
  go((next) => {
    for (const name of ['table', 'period', 'interval']) next.delete(name);
    next.set('from', from);
    next.set('to', to);
  });
}

// Freshness

/** @type {Freshness | null} */
let fresh = null;
let freshAt = 0;
let connection = 'connecting';

/** @param {Freshness} next */
export function hear(next) {
  fresh = next;
  freshAt = performance.now();
  drawFreshness();
}

/** A 304 says how fresh the numbers still are. @param {string | null} asOf @param {number} lag */
function heard(asOf, lag) {
  if (fresh && asOf) hear({ ...fresh, as_of: asOf, lag_seconds: lag });
}

/** @param {string} next */
function connected(next) {
  connection = next;
  drawFreshness();
}

function drawFreshness() {
  const badge = component('freshness');
  set(badge, 'data-connection', connection);
  const notice = find(document, '#notice');
  say(find(badge, '.line'), words.connections[connection]);
  if (!fresh) return;
  const seconds = fresh.lag_seconds + (performance.now() - freshAt) / 1000;
  set(badge, 'data-value', fresh.lag_seconds);
  set(badge, 'data-freshness', fresh.state);
  say(find(badge, '.word'), words.freshness[fresh.state]);
  const time = find(badge, 'time');
  set(time, 'datetime', fresh.as_of);
  say(time, fresh.state === 'live' && connection !== 'lost' ? text.lag(seconds) : text.behind(words.age(seconds)));
  const at = words.instant(fresh.as_of, report?.query.timezone ?? 'UTC');
  set(badge, 'title', text.asOf(at));
  const trouble = connection === 'lost' ? 'lost' : fresh.state === 'live' ? '' : fresh.state;
  set(notice, 'data-kind', trouble || null);
  const told = trouble === 'lost' ? text.lost(at) : trouble === 'stalled' ? text.stalled(at) : trouble ? text.catchingUp(words.age(seconds)) : '';
  say(find(notice, 'p'), told);
  // Read aloud when the state changes, not each second that its age does.
  const spoken = find(notice, '[role="status"]');
  if (spoken.dataset.kind !== trouble) {
    spoken.dataset.kind = trouble;
    say(spoken, told);
  }
  root.classList.toggle('stale', Boolean(trouble));
}

// The live line: a stream, else asking

/** Reads server-sent events from a body. @param {ReadableStream<Uint8Array>} body @param {(event: string, data: string, id: string) => void} take @param {() => void} alive */
async function readEvents(body, take, alive) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let rest = '';
  for (;;) {
    const { value, done: ended } = await reader.read();
    if (ended) return;
    alive();
    rest = (rest + value).replaceAll('\r\n', '\n');
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
      let [event, data, id] = ['message', '', ''];
      for (const row of rest.slice(0, end).split('\n')) {
        const [, field, content] = /^([^:]*):? ?(.*)$/.exec(row) ?? [];
        if (field === 'event') event = content;
        else if (field === 'data') data += data ? `\n${content}` : content;
        else if (field === 'id') id = content;
      }
      rest = rest.slice(end + 2);
      if (data) take(event, data, id);
    }
  }
}

const live = {
  /** @type {AbortController | null} */
  line: null,
  mine: 0,
  revision: '',
  /** @type {string | null} */
  etag: null,
  tries: 0,
  timer: 0,
  /** Whether a stream ever brought an event here. */
  proven: false,

  stop() {
    this.line?.abort();
    this.line = null;
    clearTimeout(this.timer);
  },

  /** Begins a view: true once its first report is drawn, or its parts show that they failed. @param {number} mine */
  async start(mine) {
    this.mine = mine;
    this.revision = '';
    this.etag = null;
    this.tries = 0;
    connected('connecting');
    if (await this.stream(true)) return true;
    if (mine !== turn) return false;
    return this.poll(true);
  },

  /** Comes back after a pause or a loss. */
  async resume() {
    if (document.hidden) return connected('paused');
    const mine = this.mine;
    if (await this.stream(false)) return;
    if (mine === turn) await this.poll(false).catch((problem) => showProblem(problem));
  },

  /**
   * Opens the stream: true as soon as it brought its first report (or, proven and resumed, was accepted), false where it
   * did not in time; a late one is taken all the same. What only a person can mend (401, 403, 404, 400) is thrown at the
   * start of a view.
   * @param {boolean} first
   */
  async stream(first) {
    this.stop();
    const line = (this.line = new AbortController());
    // A proxy may accept a stream and never pass it on: only one that spoke before is believed without a word.
    const trusted = this.proven && !first;
    return Promise.race([this.read(line, first, trusted), new Promise((resolve) => { setTimeout(resolve, FIRST_EVENT_MS, false); })]);
  },

  /** @param {AbortController} line @param {boolean} first @param {boolean} trusted @returns {Promise<boolean>} */
  async read(line, first, trusted) {
    const { mine } = this;
    /** @type {number} */
    let silence = 0;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(() => line.abort(), SILENCE_MS);
    };
    alive();
    let response;
    try {
      response = await request(resourceAddress('live'), { Accept: 'text/event-stream', ...(trusted && this.revision ? { 'Last-Event-ID': this.revision } : {}) }, line.signal);
      if (!response.body || !response.headers.get('Content-Type')?.startsWith('text/event-stream')) throw new Problem(0, {});
    } catch (problem) {
      clearTimeout(silence);
      if (mine !== turn || !(problem instanceof Problem) || !unshowable(problem) || problem.status === 404) return false;
      if (first) throw problem;
      await showProblem(problem);
      return false;
    }
    const { body } = response;
    return new Promise((resolve) => {
      let spoke = trusted;
      if (trusted) {
        connected('stream');
        resolve(true);
      }
      /** @param {string} event @param {string} data @param {string} id */
      const take = (event, data, id) => {
        if (mine !== turn) return line.abort();
        spoke = this.proven = true;
        this.tries = 0;
        clearTimeout(this.timer); // of asking, where the stream came late
        if (connection !== 'stream') connected('stream');
        if (event === 'freshness') return hear(JSON.parse(data));
        if (event !== 'report') return undefined;
        this.revision = id;
        this.etag = `W/"${id}"`;
        void this.arrived(JSON.parse(data), mine).then(() => resolve(true));
        return undefined;
      };
      readEvents(body, take, alive).catch(() => {}).finally(() => {
        clearTimeout(silence);
        resolve(false);
        if (mine === turn && this.line === line && spoke && !document.hidden) this.again();
      });
    });
  },

  /** The stream ended: soon once more, later each time. */
  again() {
    this.tries += 1;
    connected(this.tries > 1 ? 'polling' : 'connecting');
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.resume(), Math.min(POLL_MS, 500 * 2 ** this.tries) * (0.8 + Math.random() / 5));
  },

  /** Asks for the report, again every 10 s, and tries the stream each third time. @param {boolean} first */
  async poll(first) {
    const { mine } = this;
    clearTimeout(this.timer);
    let wait = POLL_MS;
    try {
      const answer = await ask('', undefined, { etag: this.etag });
      if (mine !== turn) return false;
      if (connection !== 'stream') connected('polling');
      if (answer) {
        this.etag = answer.etag;
        this.revision = answer.body.freshness.revision;
        await this.arrived(answer.body, mine);
      }
    } catch (problem) {
      if (mine !== turn) return false;
      if (!(problem instanceof Problem) || unshowable(problem)) throw problem;
      if (first || !report) await failed(problem, mine);
      if (connection !== 'stream') connected(problem.status === 503 ? 'unavailable' : 'lost');
      wait = Math.min(wait, Math.max(1, problem.retrySeconds) * 1000);
    }
    if (connection === 'stream') return true;
    this.tries += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (document.hidden) return;
      if (this.tries % 3 === 0 || connection !== 'polling') void this.resume();
      else void this.poll(false).catch((problem) => showProblem(problem));
    }, wait * 0.95);
    return true;
  },

  /** @param {Report} next @param {number} mine */
  async arrived(next, mine) {
    const moved = report && reportKey && report.freshness.revision !== next.freshness.revision;
    await show(next, mine);
    if (mine !== turn) return;
    const recovered = root.dataset.fault === 'yes';
    reportKey = resourceAddress('');
    root.dataset.fault = 'no';
    if (moved || recovered) void table.refresh().catch(() => {});
  },
};

/** @param {Problem} problem @param {number} mine */
async function failed(problem, mine) {
  reportKey = '';
  root.dataset.fault = 'yes';
  await (await guides()).parts(problem, () => mine === turn);
}

document.addEventListener('visibilitychange', () => {
  if (root.dataset.state === 'error' || !address().get('workspace')) return;
  if (document.hidden) pause();
  else void live.resume();
});
function pause() {
  live.stop();
  connected('paused');
}
addEventListener('online', () => connection === 'lost' && void live.resume());
setInterval(() => document.hidden || drawFreshness(), 1000);

// The controls

/** @param {string} id @returns {HTMLInputElement} */
const control = (id) => find(document, `#${id}`);

/** What the address says, at once; dates of a preset follow with the report. */
function drawControls() {
  const here = address();
  const custom = here.has('from') || here.has('to');
  control('period').value = custom ? 'custom' : here.get('period') || 'last_7_days';
  if (custom) {
    control('from').value = here.get('from') ?? '';
    control('to').value = here.get('to') ?? '';
  }
  control('interval').value = here.get('interval') || 'auto';
  control('compare').value = here.get('compare') || 'previous_period';
  if (document.activeElement !== control('timezone')) control('timezone').value = here.get('timezone') ?? '';
  control('kind').value = here.get('activity') ?? '';
  control('fold').checked = here.get('imports') !== 'open' && !here.has('batch');
  say(find(document, '#workspace .value'), here.get('workspace') ?? '');
  const someSources = chosen('source');
  say(find(document, '#sources .value'), someSources.length ? text.chosen(someSources.map(sourceLabel)) : text.allSources);
  const someUsers = chosen('user');
  say(find(document, '#users .value'), someUsers.length ? text.chosen(someUsers.map(userLabel)) : text.allUsers);
  find(document, '#reset').hidden = ![...pick(here, [...OWN, 'timezone']).keys()].length;
  drawChosen();
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll('a[data-resource]'))) {
    link.href = resourceAddress(link.dataset.resource ?? '', link.dataset.resource?.startsWith('activities') ? pick(tableParameters(), link.dataset.resource === 'activities' ? [] : ['batches']) : reportParameters());
  }
}

/** @param {string} id */
export function userLabel(id) {
  if (id === 'none') return text.noUser;
  return (choices?.users.find((one) => one.user_id === id) ?? report?.users.find((one) => one.user_id === id))?.user_name ?? id;
}

/** @param {Report} next */
function drawRange({ query }) {
  control('from').value = query.from;
  control('to').value = query.to;
  say(find(document, '#range'), `${words.dateRange(query.from, query.to)} · ${query.timezone}`);
}

/** @param {HTMLSelectElement} select @param {Record<string, string>} options */
function offer(select, options) {
  select.replaceChildren(...Object.entries(options).map(([value, label]) => h('option', { value }, label)));
}

/** @param {URLSearchParams} to @param {string} name @param {string} value @param {string} usual */
function assign(to, name, value, usual) {
  if (value === usual) to.delete(name);
  else to.set(name, value);
}

/** A date control gives both dates; the other one follows where it would be on the wrong side. @param {'from' | 'to'} edge */
function pickDates(edge) {
  const input = control(edge);
  const other = control(edge === 'from' ? 'to' : 'from');
  if (!input.value || !input.validity.valid) return;
  if (control('from').value > control('to').value || !other.value) other.value = input.value;
  go((to) => {
    for (const name of ['period', 'table']) to.delete(name);
    to.set('from', control('from').value);
    to.set('to', control('to').value);
  });
}

function listen() {
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-word]'))) say(element, words.labels[element.dataset.word ?? '']);
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-name]'))) element.setAttribute('aria-label', words.labels[element.dataset.name ?? '']);
  offer(/** @type {any} */ (control('period')), { ...words.periods, custom: text.custom });
  find(document, '#period option[value="custom"]').hidden = true;
  offer(/** @type {any} */ (control('interval')), words.intervals);
  offer(/** @type {any} */ (control('compare')), words.comparisons);
  offer(/** @type {any} */ (control('kind')), words.activities);
  /** @param {string} id @param {(value: string) => void} then */
  const changed = (id, then) => control(id).addEventListener('change', () => then(control(id).value));
  changed('period', (value) => value !== 'custom' && go((to) => {
    for (const name of ['from', 'to', 'table']) to.delete(name);
    to.set('period', value);
  }));
  changed('from', () => pickDates('from'));
  changed('to', () => pickDates('to'));
  changed('interval', (value) => go((to) => assign(to, 'interval', value, 'auto')));
  changed('compare', (value) => go((to) => assign(to, 'compare', value, 'previous_period')));
  changed('kind', (value) => go((to) => assign(to, 'activity', value, '')));
  changed('fold', () => go((to) => {
    for (const name of ['batches', 'batch']) to.delete(name);
    assign(to, 'imports', control('fold').checked ? '' : 'open', '');
  }));
  changed('timezone', (value) => void chooser().then((choosers) => choosers.commitZone(value)));
  control('timezone').addEventListener('focus', () => void chooser().then((choosers) => choosers.offerZones()), { once: true });
  find(document, '#reset').addEventListener('click', () => go((to) => {
    for (const name of [...to.keys()]) if (!['workspace', 'embed', 'timezone', 'week_start'].includes(name)) to.delete(name);
  }));
  for (const [id, method] of /** @type {const} */ ([['sources', 'openSources'], ['users', 'openUsers'], ['workspace', 'openWorkspaces']])) {
    control(id).addEventListener('click', () => void chooser().then((choosers) => choosers[method](control(id))));
  }
  for (const section of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-export]'))) addMenu(section);
  const more = find(document, '#more');
  more.addEventListener('click', () => set(more, 'aria-expanded', String(more.getAttribute('aria-expanded') !== 'true')));
  for (const event of ['pointerenter', 'focusin']) component('filters').addEventListener(event, () => void readChoices(turn).catch((problem) => showProblem(problem)));
}
const chooser = () => import('./choosers.js');

/** Beside each component: its numbers as a table, on the clipboard, and the addresses of its exports. @param {HTMLElement} section */
function addMenu(section) {
  const resource = section.dataset.export ?? '';
  const name = find(section, 'h2').textContent ?? '';
  const id = `menu-${section.dataset.component}`;
  const formats = resource === 'activities' ? ['csv', 'ndjson'] : ['csv'];
  const chart = charts[/** @type {'added'} */ (({ 'added-by-date': 'added', 'deleted-by-date': 'deleted', 'added-by-source': 'sources' })[section.dataset.component ?? ''] ?? '')];
  const values = () => import('./values.js');
  const menu = h('div', { id, class: 'menu', popover: 'auto', click: () => /** @type {any} */ (menu).hidePopover() },
    chart ? h('button', { type: 'button', click: (/** @type {Event} */ event) => void values().then((module) => module.toggleTable(section, chart, /** @type {HTMLElement} */ (event.target))) }, text.viewTable) : null,
    resource === 'activities' ? null : h('button', { type: 'button', click: () => void values().then((module) => module.copyCsv(section, chart, report)) }, text.copyCsv),
    ...formats.map((format) => h('a', { 'data-resource': `${resource}.${format}`, download: '', click: (/** @type {Event} */ event) => download(event) }, text.download(format.toUpperCase()))),
    h('a', { 'data-resource': resource, target: '_blank' }, text.address('JSON')));
  const button = h('button', { type: 'button', class: 'options', popovertarget: id, 'aria-label': text.options(name) }, '⋯');
  menu.addEventListener('toggle', () => {
    const box = button.getBoundingClientRect();
    menu.style.top = `${box.bottom + scrollY + 4}px`;
    menu.style.left = `${Math.max(8, box.right + scrollX - menu.offsetWidth)}px`;
  });
  find(section, 'header').append(button, menu);
}

/** A link cannot carry a token, so with one the page fetches the file itself. @param {Event} event */
function download(event) {
  if (!token()) return;
  event.preventDefault();
  void import('./values.js').then((module) => module.save(/** @type {HTMLAnchorElement} */ (event.target)));
}

// In place of a report

const guides = () => import('./guides.js');

/** @returns {Promise<void>} */
async function chooseWorkspace() {
  live.stop();
  drawControls();
  try {
    const listed = await (await request(new URL('v1/workspaces', document.baseURI).href, { Accept: 'application/json' })).json();
    if (listed.workspaces.length === 1) {
      go((to) => to.set('workspace', listed.workspaces[0].workspace_id), 'replace');
      return visit();
    }
    (await guides()).workspaces(listed);
    root.dataset.state = 'ready';
  } catch (problem) {
    await showProblem(problem);
  }
}

/** @param {unknown} problem */
export async function showProblem(problem) {
  if (!(problem instanceof Problem)) throw problem;
  turn += 1; // what is still on its way is of no use
  live.stop();
  reportKey = tableKey = choicesKey = '';
  (await guides()).problem(problem);
  root.dataset.state = 'error';
}

/** A range without an event may mean a workspace without one: then the page tells how to send the first. @param {Report} next */
async function drawEmptiness(next) {
  const quiet = next.added.count === 0 && next.deleted.count === 0;
  const guide = find(document, '#empty');
  if (!quiet) set(guide, 'hidden', '');
  else if (guide.hidden) (await guides()).emptiness(next);
}

function leaveGuide() {
  find(document, '#guide').hidden = true;
  find(document, '#view').hidden = false;
  find(document, '#empty').hidden = true;
}

// The beginning

/** `#token=…` is taken and removed at once, before anything could keep the address. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!given) return;
  history.replaceState(null, '', location.pathname + location.search);
  keepToken(given);
}

takeToken();
root.classList.toggle('embedded', embedded);
addEventListener('hashchange', () => {
  const before = token();
  takeToken();
  if (token() !== before) void visit();
});
addEventListener('popstate', () => void visit());
listen();
if (embedded) {
  find(document, '#view').prepend(component('freshness'));
  void guides().then((module) => module.acceptToken());
}
void visit();
