/** Starts the page: takes the token, listens to the window, and makes the first visit. */

import { address, embedded, onVisit, revisit } from './address.js';
import { chooser, listen, values } from './controls.js';
import { breathe, component, find, root } from './elements.js';
import { failed } from './failure.js';
import { connection, drawFreshness, parts } from './freshness.js';
import { live } from './live.js';
import { guides, showProblem } from './problem.js';
import { keepToken, token } from './request.js';
import { show, visit } from './visit.js';

/** What only errors need is fetched so long after the first view: before it is needed, and beside nothing that is. */
const SPARE_MS = 2_000;

/** `#token=…` is taken and removed at once, before anything could keep the address. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!given) return;
  history.replaceState(null, '', location.pathname + location.search);
  keepToken(given);
}

onVisit(visit);
Object.assign(live, { show, failed, refused: showProblem });
takeToken();
root.classList.toggle('embedded', embedded);
addEventListener('hashchange', () => {
  const before = token();
  takeToken();
  if (token() !== before) void revisit();
});
addEventListener('popstate', () => void revisit());
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return live.pause();
  parts.hurry();
  if (root.dataset.state !== 'error' && address().get('workspace')) void live.resume();
  return undefined;
});
addEventListener('offline', () => live.lose());
addEventListener('online', () => {
  if (document.hidden) return;
  parts.hurry();
  if (['lost', 'unavailable'].includes(connection) && root.dataset.state !== 'error') void live.resume();
});
setInterval(() => document.hidden || drawFreshness(), 1000);
listen();
if (embedded) {
  const heading = find(document, 'h1'); // for who listens; the head is not shown
  heading.className = 'hidden';
  find(document, '#view').prepend(heading, find(document, '#range'), component('freshness'));
  addEventListener('message', (event) => event.source === parent && parent !== window && void guides().then((module) => module.acceptToken(event)));
  if (parent !== window) parent.postMessage({ type: 'contacts-report.ready' }, '*');
}
void breathe().then(revisit).then(() => setTimeout(() => void guides().then(values).then(chooser), SPARE_MS));
