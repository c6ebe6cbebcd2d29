/** Draws the screen: what is wrong, the facts, and the four tables. Every title leads to its paragraph of the runbook. */

import { find, fit, make, say } from './elements.js';
import { partition, troubles } from './trouble.js';
import { age, ago, number, runbook, states, text, titles } from './words.js';

/** Which paragraph speaks of a column, where its name does not say it. */
const SPOKEN_OF = { position: 'lag', end: 'lag', committed: 'commit', projected: 'commit', reason: 'rejected', count: 'rejected', example: 'rejected', state: 'worker', counted: 'worker', version: 'worker', started: 'worker', told: 'worker', process: 'api', answers: 'api', failed: 'api', streams: 'api' };
const NUMBERS = ['lag', 'rate', 'position', 'end', 'count', 'counted', 'duplicates', 'answers', 'failed', 'streams', 'committed', 'projected'];

/** @param {string} of @param {string} title */
const link = (of, title) => make('a', { href: runbook(/** @type {any} */ (of)) }, title);

/** The heads, which stay. */
export function prepare() {
  for (const name of /** @type {const} */ (['partitions', 'rejected', 'workers', 'apis'])) {
    for (const [column, title] of Object.entries(titles[name])) {
      const of = name === 'apis' && column !== 'process' ? 'api' : SPOKEN_OF[column] ?? column;
      find(`#${name} thead tr`).append(make('th', { scope: 'col', class: NUMBERS.includes(column) ? 'number' : '' }, link(of, title)));
    }
  }
  for (const [of, title] of Object.entries(titles.facts)) find('#facts').append(make('div', { 'data-fact': of }, make('dt', {}, link(of, title)), make('dd')));
}

/** @param {any} told the answer of /v1/ops */
export function draw(told) {
  const wrong = troubles(told);
  document.documentElement.dataset.well = told.state === 'live' ? 'yes' : 'no';
  say(find('#deployment'), text.deployment(told.group, told.version));
  say(find('#word'), told.state === null ? text.noState : states[told.state]);
  say(find('#age'), told.lag_seconds === null ? '' : text.age(age(told.lag_seconds)));
  find('#wrong').hidden = !wrong.length;
  fit(find('#wrong ul'), wrong.length, () => make('li')).forEach((item, at) => say(item, wrong[at]));
  drawFacts(told);
  rows('partitions', told.partitions.map((of) => partitionRow(of, told.at)));
  rows('rejected', rejected(told).map(([reason, of]) => ({ cells: { reason, count: number(of.count), example: place(of) } })));
  rows('workers', told.workers.map((of) => workerRow(of, told.at)));
  rows('apis', told.apis.map((of) => ({ cells: { process: of.process, answers: number(of.answers), failed: number(of.failed), streams: number(of.streams), version: of.version, started: ago(of.started_at, told.at), told: ago(of.told_at, told.at) } })));
  return wrong;
}

/** @param {any} told */
function drawFacts(told) {
  const sum = (/** @type {string} */ field) => told.partitions.reduce((/** @type {number} */ all, /** @type {any} */ of) => all + (of[field] ?? 0), 0);
  const all = (/** @type {string} */ field) => told.workers.reduce((/** @type {number} */ counted, /** @type {any} */ of) => counted + of[field], 0);
  const facts = {
    state: told.state === null ? text.noState : `${states[told.state]}, ${age(told.lag_seconds)}`,
    partition: text.of(told.partitions_found, told.partitions_expected),
    lag: number(sum('lag')),
    rate: number(Math.round(sum('events_per_second') * 10) / 10),
    duplicates: number(all('duplicates')),
    rejected: number(rejected(told).reduce((count, [, of]) => count + of.count, 0)),
    worker: text.of(told.workers.filter((of) => of.ready).length, told.workers.length),
    api: number(told.apis.length),
    redis: told.redis_policy ?? text.nothing,
    topics: told.topics_differ.length ? text.differ(told.topics_differ.length) : text.asWanted,
  };
  for (const [of, value] of Object.entries(facts)) say(find(`[data-fact="${of}"] dd`), value);
}

/** @param {any} of @param {string} now */
function partitionRow(of, now) {
  return {
    wrong: partition(of).length > 0,
    cells: {
      partition: String(of.partition),
      phase: of.phase ?? text.nothing,
      lag: number(of.lag),
      rate: number(of.events_per_second),
      position: number(of.position),
      end: number(of.end),
      committed: ago(of.committed_at, now),
      projected: ago(of.projected_at, now),
      owner: of.owner ?? text.nothing,
      failure: of.failure ?? text.nothing,
    },
  };
}

/** @param {any} of @param {string} now */
function workerRow(of, now) {
  const state = of.ready ? text.ready : `${text.notReady}: ${of.reason ?? ''}`;
  return {
    wrong: !of.ready,
    cells: { worker: of.worker, state, counted: number(of.counted), duplicates: number(of.duplicates), version: of.version, started: ago(of.started_at, now), told: ago(of.told_at, now) },
  };
}

/** By reason, over all workers. @param {any} told @returns {[string, any][]} */
function rejected(told) {
  /** @type {Record<string, any>} */
  const found = {};
  for (const { rejected: of } of told.workers) {
    for (const [reason, one] of Object.entries(of)) {
      const known = (found[reason] ??= { count: 0, partition: null, offset: null });
      known.count += one.count;
      if (one.offset !== null) Object.assign(known, { partition: one.partition, offset: one.offset });
    }
  }
  return Object.entries(found).sort(([, one], [, other]) => other.count - one.count);
}

/** @param {any} of */
const place = (of) => (of.offset === null ? text.nothing : text.place(of.partition, of.offset));

/** @param {keyof typeof titles} name @param {{ wrong?: boolean, cells: Record<string, string> }[]} all */
function rows(name, all) {
  const columns = Object.keys(titles[name]);
  const cells = () => columns.map((column, at) => make(at ? 'td' : 'th', { ...(at ? {} : { scope: 'row' }), class: NUMBERS.includes(column) ? 'number' : '' }));
  fit(find(`#${name} tbody`), all.length, () => make('tr', {}, ...cells())).forEach((row, at) => {
    row.toggleAttribute('data-wrong', Boolean(all[at].wrong));
    columns.forEach((column, cell) => say(row.children[cell], all[at].cells[column]));
  });
}
