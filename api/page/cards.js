/** Draws a card: the count of a period, how it changed, and its shape as a small line. */

import { drawing, find, h, say, set } from './elements.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./types.js').Report} Report */

/** Closer together than this, a line is a smear. */
const SPARKLINE_POINTS = 60;

/** @param {HTMLElement} section @param {Report} report @param {'added' | 'deleted'} activity */
export function drawCard(section, report, activity) {
  const { count, previous, change_percent: percents } = report[activity];
  const body = find(section, '.body');
  if (!body.querySelector('.count')) {
    body.replaceChildren(h('p', { class: 'figure' }, h('span', { class: 'count' }), h('span', { class: 'change' })), h('p', { class: 'earlier' }), sparkline());
  }
  const figure = find(body, '.count');
  set(figure, 'data-value', count);
  set(figure, 'data-previous', previous);
  say(figure, words.number(count));
  section.classList.toggle('zero', count === 0);
  const change = find(body, '.change');
  set(change, 'data-change', percents ?? '');
  set(change, 'data-direction', Math.sign(count - (previous ?? count)));
  say(change, previous == null ? '' : count === previous ? text.noChange : percents != null ? words.changed(percents, count - previous) : text.fromZero);
  say(find(body, '.earlier'), report.query.compare && previous != null ? text.from(words.number(previous), words.earlierRange(report.query)) : text.notCompared);
  drawSparkline(find(body, 'svg'), report.timeline, activity);
}

function sparkline() {
  const svg = drawing('svg', { class: 'sparkline', viewBox: '0 0 100 100', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  svg.append(drawing('path'), drawing('path'));
  return svg;
}

/** One line for the shape, one area below it; no numbers, so no element a bucket. @param {Element} svg @param {Report['timeline']} timeline @param {'added' | 'deleted'} activity */
function drawSparkline(svg, timeline, activity) {
  const counts = timeline.filter((bucket) => bucket.state !== 'future').map((bucket) => bucket[activity] ?? 0);
  const together = Math.ceil(counts.length / SPARKLINE_POINTS);
  const values = Array.from({ length: Math.ceil(counts.length / together) }, (_, place) => counts.slice(place * together, (place + 1) * together).reduce((sum, value) => sum + value, 0));
  const most = Math.max(1, ...values);
  const step = 100 / Math.max(1, values.length - 1);
  const line = values.map((value, index) => `${(index * step).toFixed(2)},${(96 - (value / most) * 88).toFixed(2)}`).join('L');
  const [area, stroke] = svg.children;
  set(svg, 'data-start', timeline[0]?.start ?? null);
  set(area, 'd', values.length > 1 ? `M0,100L${line}L100,100Z` : '');
  set(stroke, 'd', values.length > 1 ? `M${line}` : '');
}
