/** Shows something in place of a report: a problem, a guide. */

import { address, go, revisit } from './address.js';
import { find, root, set } from './elements.js';
import { parts } from './freshness.js';
import { persist } from './line.js';
import { live } from './live.js';
import { Problem, token, told, unshowable } from './request.js';
import { shown } from './view.js';

/** @typedef {import('./types.js').Report} Report */

export const guides = () => persist(() => import('./guides.js'));

/** `Etc/Unknown` is what a browser says that cannot tell. */
const browserZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
/** A zone of the browser's that the API does not know. */
let refusedZone = 'Etc/Unknown';

/** The zone of this browser, or UTC where the API does not know that one. */
export const ownZone = () => (browserZone() === refusedZone ? 'UTC' : browserZone());

/** Whether it is the browser's own zone that is wrong: nobody chose it, so UTC takes its place. @param {Problem} problem */
function refusesOwnZone({ status, body }) {
  const zone = address().get('timezone') ?? '';
  if (status !== 400 || zone !== browserZone() || !body.errors?.some(({ parameter }) => parameter === 'timezone')) return false;
  refusedZone = zone;
  go((to) => to.set('timezone', 'UTC'), 'replace');
  return true;
}

/** @param {unknown} problem */
export async function showProblem(problem) {
  if (!(problem instanceof Problem)) throw problem;
  if (refusesOwnZone(problem)) return revisit();
  shown.turn += 1; // what is still on its way is of no use
  shown.view += 1;
  live.stop();
  shown.reportKey = shown.tableKey = shown.choicesKey = '';
  if ([401, 403].includes(problem.status) && problem.askedWith !== token()) return revisit(); // there is another token by now
  for (const name of [...parts.behind.keys()]) if (name !== 'page') parts.mend(name);
  const mine = shown.turn;
  root.dataset.state = 'error';
  if (!unshowable(problem)) parts.fail('page', problem.retrySeconds, () => void revisit());
  const module = await guides();
  if (mine === shown.turn) module.problem(problem);
  return undefined;
}

/** A range without an event may mean a workspace without one: then the page tells how to send the first. @param {Report} next */
export async function drawEmptiness(next) {
  const quiet = next.added.count === 0 && next.deleted.count === 0;
  const guide = find(document, '#empty');
  if (!quiet) set(guide, 'hidden', '');
  else if (guide.hidden) {
    await (await guides()).emptiness(next).then(() => parts.mend('empty'), (problem) => {
      if (next === shown.report) parts.fail('empty', told(problem), () => (next === shown.report ? void drawEmptiness(next) : parts.mend('empty')));
    });
  }
}
