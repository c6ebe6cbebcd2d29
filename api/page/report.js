/** Draws a report: its cards, charts, sources, users and warnings. */

import { address, choose, chosen, go } from './address.js';
import { drawCard } from './cards.js';
import { charts, users } from './components.js';
import { breathe, component, find, h, recover, say, set } from './elements.js';
import { sourceLabel } from './view.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./types.js').Report} Report */

/** Each part in a task of its own, the numbers first; whether all were drawn. @param {Report} next @param {() => boolean} superseded another report takes its place */
export async function drawReport(next, superseded) {
  document.title = text.documentTitle(words.number(next.added.count), words.number(next.deleted.count), address().get('workspace') ?? '');
  drawWarnings(next);
  /** @type {Record<string, () => void | Promise<void>>} */
  const drawings = {
    added: () => drawCard(component('added'), next, 'added'),
    deleted: () => drawCard(component('deleted'), next, 'deleted'),
    users: () => users.draw(next.users, next.users_omitted.count),
    'added-by-date': () => charts.added.draw(dateModel(next, 'added')),
    'deleted-by-date': () => charts.deleted.draw(dateModel(next, 'deleted')),
    'added-by-source': () => drawSources(next),
  };
  for (const [name, draw] of Object.entries(drawings)) {
    await breathe();
    if (superseded()) return false;
    await draw();
    if (superseded()) return false;
    if (!('kept' in component(name).dataset)) recover(component(name));
    component(name).removeAttribute('aria-busy');
  }
  return true;
}

/** @param {Report} next @param {'added' | 'deleted'} kind @returns {import('./types.js').ChartModel} */
export function dateModel(next, kind) {
  return {
    none: kind === 'added' ? text.noAdded : text.noDeleted, spans: next.timeline, interval: next.query.interval, stacked: false,
    series: [{ name: kind, label: words.activities[kind], colour: kind, values: next.timeline.map((bucket) => bucket[kind]) }],
    compared: words.earlierRange(next.query), timezone: next.query.timezone,
    earlier: next.query.compare && next.timeline.map(({ previous }) => ({ .../** @type {import('./types.js').EarlierBucket} */ (previous), value: previous?.[kind] ?? 0 })),
  };
}

const COLOURS = ['incoming_message', 'developer_api', 'contact_import', 'user', 'echo_message'];
/** @param {string} name @param {number} place */
const colourOf = (name, place) => (name === 'none' ? 's-none' : name === '*' ? 's-rest' : COLOURS.includes(name) ? `s${COLOURS.indexOf(name)}` : `s${5 + ((place - 5) % 3)}`);

/** @param {Report} next */
export async function drawSources(next) {
  const { names, timeline } = next.sources;
  drawLegend(next);
  await charts.sources.draw({
    none: text.noAdded, spans: timeline, interval: next.query.interval, stacked: true, compared: '', timezone: next.query.timezone, earlier: null,
    series: names.map((name, place) => ({ name, label: sourceLabel(name), colour: colourOf(name, place), values: timeline.map((bucket) => bucket.added[name]) })),
  });
}

/** The legend tells each source's total and meaning, and sets the filter. @param {Report} next */
function drawLegend({ sources: { names, totals }, added }) {
  const list = find(component('added-by-source'), '.legend');
  const picked = chosen('source');
  const key = names.map((name) => `${name} ${sourceLabel(name)}`).join('\n');
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    const held = list.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.name : null;
    list.replaceChildren(...names.map((name, place) => h('li', {},
      h('button', { type: 'button', 'data-name': name, disabled: name === '*', click: () => pickSource(name) },
        h('i', { class: `swatch ${colourOf(name, place)}` }), h('bdi', { class: 'name' }, sourceLabel(name)),
        h('span', { class: 'amount', 'data-source': name }), h('span', { class: 'share' }),
        h('small', {}, words.explanations[name] ?? '')))));
    if (held) /** @type {HTMLElement | null} */ (list.querySelector(`[data-name="${CSS.escape(held)}"]`))?.focus();
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
