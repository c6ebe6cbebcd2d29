/** Says how fresh the numbers are, and how the page is connected. */

import { address } from './address.js';
import { component, find, root, say, set } from './elements.js';
import { Parts } from './line.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./types.js').Freshness} Freshness */

/** Numbers that are older than this are not live, whatever they say. */
const OLD_SECONDS = 40;

/** @type {Freshness | null} */
let fresh = null;
let freshAt = 0;
export let connection = 'connecting';
let crowded = false;

/** What of the page is behind. */
export const parts = new Parts(() => drawFreshness());

/** @param {Freshness} next */
export function hear(next) {
  fresh = next;
  freshAt = performance.now();
  drawFreshness();
}

/** A 304 says how fresh the numbers still are. @param {string | null} asOf @param {number} lag */
export function heard(asOf, lag) {
  if (fresh && asOf) hear({ ...fresh, as_of: asOf, lag_seconds: lag });
}

/** @param {boolean} taken others have all the streams */
export function crowd(taken) {
  crowded = taken;
}

/** @param {string} next */
export function connected(next) {
  connection = next;
  drawFreshness();
}

export function drawFreshness() {
  const badge = component('freshness');
  set(badge, 'data-connection', connection);
  const notice = find(document, '#notice');
  const behind = [...new Set([...parts.behind.keys()].map((name) => words.parts[name]))];
  const reached = ['stream', 'polling'].includes(connection);
  say(find(badge, '.line'), reached && behind.length ? text.askingFor(behind) : words.connections[connection === 'polling' && crowded ? 'sharing' : connection]);
  if (!fresh) return;
  const seconds = fresh.lag_seconds + (performance.now() - freshAt) / 1000;
  set(badge, 'data-value', fresh.lag_seconds);
  set(badge, 'data-freshness', fresh.state);
  const time = find(badge, 'time');
  set(time, 'datetime', fresh.as_of);
  const at = words.instant(fresh.as_of, address().get('timezone') ?? 'UTC');
  set(badge, 'title', text.asOf(at));
  const cut = connection === 'lost' || connection === 'unavailable' || (reached && seconds > Math.max(OLD_SECONDS, fresh.lag_seconds * 2) && fresh.state === 'live');
  const trouble = cut ? 'lost' : fresh.state === 'live' ? '' : fresh.state;
  // Live is what all parts are, and the line to them.
  say(find(badge, '.word'), fresh.state !== 'live' ? words.freshness[fresh.state] : cut ? text.notLive : behind.length ? text.partlyLive : words.freshness.live);
  say(time, fresh.state === 'live' && !cut ? text.lag(seconds) : text.behind(words.age(seconds)));
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
