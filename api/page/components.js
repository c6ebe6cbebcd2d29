/** Makes the components that stay: charts, users and the activity table, and says where their data comes from. */

import { choose, go } from './address.js';
import { Chart } from './chart.js';
import { chooseBar } from './chosen.js';
import { component, fail, recover } from './elements.js';
import { parts } from './freshness.js';
import { showProblem } from './problem.js';
import { ask, message, told, unshowable, waits } from './request.js';
import { ActivityTable } from './table.js';
import { UserList } from './users.js';
import { shown, sourceLabel } from './view.js';
import * as words from './words.js';

/** @typedef {import('./types.js').Report} Report */
/** @typedef {import('./types.js').UserCounts} UserCounts */

export const table = new ActivityTable(component('activities'), ask, sourceLabel, () => go((to) => {
  if (to.get('order') === 'asc') to.delete('order');
  else to.set('order', 'asc');
}));
export const charts = {
  added: new Chart(component('added-by-date'), words.labels.addedByDate, chooseBar('added-by-date')),
  deleted: new Chart(component('deleted-by-date'), words.labels.deletedByDate, chooseBar('deleted-by-date')),
  sources: new Chart(component('added-by-source'), words.labels.addedBySource, chooseBar('added-by-source')),
};
export const users = new UserList(component('users'), (user) => go((to) => choose(to, 'user', [user])), () => askEveryone(shown.view));

table.trouble = (part, problem, again = () => {}) => {
  const section = component('activities');
  if (problem == null) {
    if (part === 'activities' && 'kept' in section.dataset) recover(section);
    return parts.mend(part);
  }
  if (unshowable(problem)) return void showProblem(problem);
  if (part === 'activities') fail(section, message(problem, words.labels.activities), again, waits(problem), true);
  return parts.fail(part, told(problem), again);
};

/** All users, past the first 500; those stay while it fails. @param {number} mine @returns {Promise<UserCounts[]>} */
async function askEveryone(mine) {
  const section = component('users');
  try {
    const answer = await ask('users');
    if (mine === shown.view) recover(section);
    if (mine === shown.view) parts.mend('users');
    return answer?.body.users ?? [];
  } catch (problem) {
    if (mine === shown.view && unshowable(problem)) void showProblem(problem);
    else if (mine === shown.view) {
      const again = () => {
        if (mine === shown.view && users.incomplete) return users.redraw();
        recover(section);
        return parts.mend('users');
      };
      fail(section, message(problem, words.labels.byUser), again, waits(problem), true);
      parts.fail('users', told(problem), again);
    }
    throw problem;
  }
}

/** @param {Report['users']} some */
export function meet(some) {
  if (!words.meetUsers(some)) return;
  if (users.drawn) users.show();
  table.rename();
}
