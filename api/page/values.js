/** How does one take the numbers along? As a table in place of the chart, as CSV on the clipboard, as a file of the API. */

import { find, h, request } from './page.js';
import * as words from './words.js';

/** @typedef {import('./page.js').Chart} Chart */
/** @typedef {import('./types.js').ChartModel} ChartModel */
/** @typedef {import('./types.js').Report} Report */

const { text } = words;

/** The chart's numbers as rows, with a total where there is more than one column. @param {ChartModel} model */
function columns({ series, earlier, stacked }) {
  return [
    ...series.map((one) => ({ name: one.label, at: (/** @type {number} */ index) => one.values[index] })),
    ...(stacked ? [{ name: text.total, at: (/** @type {number} */ index) => series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0) }] : []),
    ...(earlier ? [{ name: text.earlier, at: (/** @type {number} */ index) => earlier[index]?.value ?? null }] : []),
  ];
}

/** @param {HTMLElement} section @param {Chart} chart @param {HTMLElement} button */
export function toggleTable(section, chart, button) {
  const body = find(section, '.body');
  const shown = body.querySelector('.values');
  button.textContent = shown ? text.viewTable : text.viewChart;
  body.classList.toggle('as-table', !shown);
  chart.after = null;
  if (shown) return shown.remove();
  const values = h('div', { class: 'values scroll', tabindex: 0, role: 'region', 'aria-label': chart.title });
  chart.after = () => chart.model && values.replaceChildren(tableOf(chart.model));
  chart.after();
  body.append(values);
  return undefined;
}

/** @param {ChartModel} model */
function tableOf(model) {
  const all = columns(model);
  const exact = words.clocksChange(model.spans);
  return h('table', {},
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, words.intervals[model.interval]), ...all.map(({ name }) => h('th', { scope: 'col', dir: 'auto' }, name)))),
    h('tbody', {}, ...model.spans.map((span, index) => h('tr', {}, h('th', { scope: 'row' }, words.bucket(span, model.interval, exact)), ...all.map(({ at }) => {
      const value = at(index);
      return h('td', {}, value == null ? text.nothing : words.number(value));
    })))));
}

/** A cell by RFC 4180; one that a spreadsheet would run is guarded by an apostrophe, as the API's exports do. @param {string | number | null} value */
function cell(value) {
  const plain = typeof value === 'string' && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? '');
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

/** @param {(string | number | null)[][]} rows */
const csv = (rows) => rows.map((row) => row.map(cell).join(',')).join('\r\n');

/** What the component shows, in wire values. @param {HTMLElement} section @param {Chart | undefined} chart @param {Report | null} report @param {Report['users']} users those that are shown, past the first 500 too */
export async function copyCsv(section, chart, report, users) {
  const kind = /** @type {'added' | 'deleted'} */ (section.dataset.component);
  let rows;
  if (chart?.model) {
    const { spans, series } = chart.model;
    rows = [['start', 'end', 'state', ...series.map(({ name }) => name)], ...spans.map((span, index) => [span.start, span.end, span.state, ...series.map(({ values }) => values[index])])];
  } else if (kind === 'added' || kind === 'deleted') {
    const total = report?.[kind];
    rows = [['metric', 'count', 'previous', 'change_percent'], [kind, total?.count ?? null, total?.previous ?? null, total?.change_percent ?? null]];
  } else rows = [['user_id', 'user_name', 'added', 'deleted'], ...users.map((user) => [user.user_id, user.user_name, user.added, user.deleted])];
  toast(await navigator.clipboard.writeText(csv(rows)).then(() => text.copied, () => text.notCopied));
}

/** @param {string} message */
function toast(message) {
  const told = h('p', { role: 'status', class: 'toast' });
  document.body.append(told);
  setTimeout(() => { told.textContent = message; }, 50);
  setTimeout(() => told.remove(), 3000);
}

/** Fetches a file with the token and saves it: to disk as it comes where the browser can, else from memory. @param {HTMLAnchorElement} link */
export async function save(link) {
  const name = `contacts-${link.dataset.resource}`;
  const picker = /** @type {any} */ (window).showSaveFilePicker;
  try {
    // In a frame of another origin there is no picker to be had: then it goes through memory.
    const file = picker && link.dataset.resource?.startsWith('activities') ? await picker({ suggestedName: name }).catch((/** @type {Error} */ failure) => {
      if (failure.name === 'AbortError') throw failure;
      return null;
    }) : null;
    const response = await request(link.href, {});
    if (file && response.body) return await response.body.pipeTo(await file.createWritable());
    const address = URL.createObjectURL(await response.blob());
    h('a', { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (failure) {
    if (/** @type {Error} */ (failure).name !== 'AbortError') toast(text.failed(name));
  }
  return undefined;
}
