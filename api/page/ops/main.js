/** Starts the page, and asks every two seconds while somebody looks. */

import { ask, keep, takeToken } from './ask.js';
import { find, say } from './elements.js';
import { draw, prepare } from './screen.js';
import { text } from './words.js';

const EVERY_MS = 2_000;
const AGAIN_MS = 4_000;

const root = document.documentElement;
let turn = 0;
let seenAt = '';

/** One look; the next one follows. A look that began before a newer one says nothing any more. */
async function look() {
  turn += 1;
  const mine = turn;
  let next = EVERY_MS;
  try {
    const told = await ask();
    if (mine === turn) show(told);
  } catch (refusal) {
    if (mine !== turn) return;
    next = refuse(/** @type {import('./ask.js').Refusal} */ (refusal));
  }
  if (mine === turn && next && !document.hidden) setTimeout(() => mine === turn && void look(), next);
}

/** @param {any} told */
function show(told) {
  const wrong = draw(told);
  seenAt = new Date(told.at).toLocaleTimeString();
  find('#screen').hidden = false;
  find('#token').hidden = find('#notice').hidden = true;
  root.dataset.state = 'ready';
  // Read aloud when it changes, and not each two seconds.
  say(find('#spoken'), wrong.length ? text.wrong(wrong) : text.well);
}

/** After how many milliseconds to ask again; 0: not before there is another token. @param {import('./ask.js').Refusal} refusal */
function refuse(refusal) {
  const locked = refusal.status === 401 || refusal.status === 403;
  const why = refusal.message ? `: ${refusal.message}` : '';
  const lost = seenAt ? text.lost(why, seenAt) : text.never(why);
  say(find('#notice'), locked ? text[refusal.status === 401 ? 'unauthorized' : 'forbidden'] : lost);
  find('#notice').hidden = false;
  if (locked) find('#screen').hidden = true;
  if (locked && find('#token').hidden) {
    find('#token').hidden = false;
    find('#pasted').focus();
  }
  root.dataset.state = locked ? 'locked' : 'lost';
  return locked ? 0 : AGAIN_MS;
}

prepare();
takeToken();
find('#token').addEventListener('submit', (event) => {
  event.preventDefault();
  const pasted = /** @type {HTMLInputElement} */ (find('#pasted'));
  keep(pasted.value.trim());
  pasted.value = '';
  void look();
});
addEventListener('hashchange', () => takeToken() && void look());
document.addEventListener('visibilitychange', () => document.hidden || void look());
void look();
