/** Shows and reads the controls: filters, dates, and the menus beside the components. */

import { address, go, pick, REPORT, reportParameters, resourceAddress, TABLE, tableParameters } from './address.js';
import { listNames, nameChosen, readChoices } from './choices.js';
import { drawChosen } from './chosen.js';
import { charts } from './components.js';
import { component, find, h, say, set } from './elements.js';
import { persist } from './line.js';
import { showProblem } from './problem.js';
import { token } from './request.js';
import { shown } from './view.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./types.js').Report} Report */

/** With more days than this an hour is too narrow a bucket. */
const HOUR_DAYS = 49;
/** The longest range of the API. */
const MAX_DAYS = 1_100;
const LONG = ['last_90_days', 'this_year', 'all'];

/** @param {string} id @returns {HTMLInputElement} */
const control = (id) => find(document, `#${id}`);

/** What the address says, at once; dates of a preset follow with the report. */
export function drawControls() {
  typed = '';
  const here = address();
  document.querySelector('.refused')?.remove();
  const custom = here.has('from') || here.has('to');
  control('period').value = custom ? 'custom' : here.get('period') || 'last_7_days';
  if (custom) writeDates(here.get('from') ?? '', here.get('to') ?? '');
  control('interval').value = here.get('interval') || 'auto';
  control('compare').value = here.get('compare') || 'previous_period';
  if (document.activeElement !== control('timezone')) control('timezone').value = here.get('timezone') ?? '';
  control('kind').value = here.get('activity') ?? '';
  control('fold').checked = here.get('imports') !== 'open' && !here.has('batch');
  listNames(find(document, '#workspace-value'), [words.shownId(here.get('workspace') ?? '')], '');
  nameChosen();
  find(document, '#reset').hidden = ![...pick(here, [...REPORT, ...TABLE]).keys()].some((name) => name !== 'timezone');
  drawChosen();
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll('a[data-resource]'))) {
    const { resource = '' } = link.dataset;
    const parameters = resource.startsWith('activities') ? pick(tableParameters(), [...REPORT, ...TABLE].filter((name) => name !== 'batches' || resource === 'activities')) : reportParameters();
    if (resource.endsWith('.csv')) parameters.set('bom', 'true'); // spreadsheets take what has none for another encoding
    link.href = resourceAddress(resource, parameters);
  }
}

/** @param {Report} next */
export function drawRange({ query }) {
  writeDates(query.from, query.to);
  find(document, '#interval option[value="hour"]').disabled = daysOf(query.from, query.to) > HOUR_DAYS && query.interval !== 'hour';
  say(find(document, '#range'), `${words.dateRange(query.from, query.to)} · ${query.timezone}`);
}

/** @param {string} from @param {string} to */
const daysOf = (from, to) => (Date.parse(to) - Date.parse(from)) / 86_400_000 + 1;

/** What is being typed is nobody else's. @param {string} from @param {string} to */
function writeDates(from, to) {
  for (const [id, value] of [['from', from], ['to', to]]) if (typed !== id) control(id).value = value;
}
/** The date control that is being typed into: what stands in it on the way is no date yet. */
let typed = '';

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
  document.querySelector('.refused')?.remove();
  if (!input.validity.valid) return refuse(edge, input.value ? text.dates(input.min, input.max) : '');
  if (control('from').value > control('to').value || !other.value) other.value = input.value;
  if (daysOf(control('from').value, control('to').value) > MAX_DAYS) return refuse(edge, text.tooLong(MAX_DAYS, edge, words.dateAfter(other.value, edge === 'from' ? 1 - MAX_DAYS : MAX_DAYS - 1)));
  return go((to) => {
    for (const name of ['period', 'table']) to.delete(name);
    if (daysOf(control('from').value, control('to').value) > HOUR_DAYS && to.get('interval') === 'hour') to.delete('interval');
    to.set('from', control('from').value);
    to.set('to', control('to').value);
  });
}

/** Beside the control it says why; both dates stay those of the report. @param {'from' | 'to'} edge @param {string} why */
function refuse(edge, why) {
  if (shown.report) writeDates(shown.report.query.from, shown.report.query.to);
  if (why) control(edge).after(h('small', { class: 'refused', role: 'alert' }, why));
}

export function listen() {
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
    for (const name of ['from', 'to', 'table', ...(LONG.includes(value) && to.get('interval') === 'hour' ? ['interval'] : [])]) to.delete(name);
    to.set('period', value);
  }));
  for (const edge of /** @type {const} */ (['from', 'to'])) {
    const input = control(edge);
    let before = '';
    const commit = () => {
      if (!typed) return;
      typed = '';
      if (!input.value) input.value = before;
      if (input.value !== before) pickDates(edge);
    };
    changed(edge, () => typed || pickDates(edge));
    input.addEventListener('keydown', ({ key }) => {
      if (key === 'Enter') commit();
      else if (!typed && (/^\d$/.test(key) || ['Backspace', 'Delete', 'ArrowUp', 'ArrowDown'].includes(key))) [typed, before] = [edge, input.value];
    });
    input.addEventListener('blur', commit);
  }
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
    control('period').focus(); // the button goes
  }));
  for (const [id, method] of /** @type {const} */ ([['sources', 'openSources'], ['users', 'openUsers'], ['workspace', 'openWorkspaces']])) {
    control(id).addEventListener('click', () => void chooser().then((choosers) => choosers[method](control(id))));
  }
  for (const section of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-export]'))) addMenu(section);
  const more = find(document, '#more');
  more.addEventListener('click', () => set(more, 'aria-expanded', String(more.getAttribute('aria-expanded') !== 'true')));
  for (const event of ['pointerenter', 'focusin']) component('filters').addEventListener(event, () => void readChoices().catch(showProblem));
}

export const values = () => persist(() => import('./export.js'));
export const chooser = () => persist(() => import('./choosers.js'));

/** Beside each component: its numbers as a table, on the clipboard, and the addresses of its exports. @param {HTMLElement} section */
function addMenu(section) {
  const resource = section.dataset.export ?? '';
  const name = find(section, 'h2').textContent ?? '';
  const id = `menu-${section.dataset.component}`;
  const formats = resource === 'activities' ? ['csv', 'ndjson'] : ['csv'];
  const chart = charts[/** @type {'added'} */ (({ 'added-by-date': 'added', 'deleted-by-date': 'deleted', 'added-by-source': 'sources' })[section.dataset.component ?? ''] ?? '')];
  const menu = h('div', { id, class: 'menu', popover: 'auto', click: () => /** @type {any} */ (menu).hidePopover() },
    chart ? h('button', { type: 'button', click: (/** @type {Event} */ event) => void values().then((module) => module.toggleTable(section, chart, /** @type {HTMLElement} */ (event.target))) }, text.viewTable) : null,
    resource === 'activities' ? null : h('button', { type: 'button', click: () => void values().then((module) => module.copyCsv(resource, name)) }, text.copyCsv),
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
  void persist(() => import('./export.js')).then((module) => module.save(/** @type {HTMLAnchorElement} */ (event.target)));
}
