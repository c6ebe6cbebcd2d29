/** Shows which bar was chosen: the table has its dates, and one step more zooms into them. */

import { address, go } from './address.js';
import { component, find, h } from './elements.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./types.js').Span} Span */

/** @param {string} name @returns {(span: Span, interval: string) => void} */
export function chooseBar(name) {
  return (span, interval) => {
    const { from, to } = words.datesOf(span, interval);
    chosenIn = name;
    go((next) => next.set('table', from === to ? from : `${from}..${to}`));
    drawChosen();
  };
}
let chosenIn = 'activities';

export function drawChosen() {
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
