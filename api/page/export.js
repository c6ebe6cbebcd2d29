/** Gives the numbers to take along: as a table in place of the chart, as CSV on the clipboard, as a file. The API alone writes CSV. */

import { resourceAddress } from './address.js';
import { find, h } from './elements.js';
import { request } from './request.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./chart.js').Chart} Chart */
/** @typedef {import('./types.js').ChartModel} ChartModel */

/** The chart's numbers as rows, with a total where there is more than one column. @param {ChartModel} model */
function columns({ series, earlier, stacked }) {
  return [
    ...series.map((one) => ({ name: one.label, at: (/** @type {number} */ index) => one.values[index] })),
    ...(stacked ? [{ name: text.total, at: (/** @type {number} */ index) => series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0) }] : []),
    ...(earlier ? [{ name: text.earlier, at: (/** @type {number} */ index) => earlier[index].value }] : []),
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

/** What the API's file has, all users too. @param {string} resource @param {string} name of the component */
export async function copyCsv(resource, name) {
  const content = request(resourceAddress(`${resource}.csv`), {}).then((response) => response.text());
  let message = text.copied;
  try {
    // Given at once, the content may come later than the browser allows copying after a click.
    await navigator.clipboard.write([new ClipboardItem({ 'text/plain': content.then((csv) => new Blob([csv], { type: 'text/plain' })) })]);
  } catch {
    message = await content.then(() => text.notCopied, () => text.failed(name));
  }
  toast(message);
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
  let name = link.dataset.resource ?? '';
  const picker = /** @type {any} */ (window).showSaveFilePicker;
  try {
    const response = await request(link.href, {});
    name = /filename="([^"]+)"/.exec(response.headers.get('Content-Disposition') ?? '')?.[1] ?? name;
    // In a frame of another origin there is no picker to be had: then it goes through memory.
    const file = picker && link.dataset.resource?.startsWith('activities') ? await picker({ suggestedName: name }).catch((/** @type {Error} */ failure) => {
      if (failure.name === 'AbortError') throw failure;
      return null;
    }) : null;
    if (file && response.body) return await response.body.pipeTo(await file.createWritable());
    const address = URL.createObjectURL(await response.blob());
    h('a', { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (failure) {
    if (/** @type {Error} */ (failure).name !== 'AbortError') toast(text.failed(name));
  }
  return undefined;
}
