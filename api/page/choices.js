/** Asks for the sources and users to filter by, and shows by name those that are chosen. */

import { chosen, resourceAddress } from './address.js';
import { meet } from './components.js';
import { component, fail, find, h, recover, root } from './elements.js';
import { parts } from './freshness.js';
import { showProblem } from './problem.js';
import { drawSources } from './report.js';
import { ask, message, told, unshowable, waits } from './request.js';
import { knownUser, shown, sourceLabel, userLabel } from './view.js';
import * as words from './words.js';
import { text } from './words.js';

/** Whether the report or its filters name what only the list of choices has a label for. */
export function hasUnnamed() {
  const sources = [...(shown.report?.sources.names ?? []), ...chosen('source')];
  return sources.some((name) => !(name in words.sources)) || chosen('user').some((id) => id !== 'none' && !knownUser(id)?.user_name);
}

/** The sources and users to filter by: asked for when a hand comes near the filters, or when one has no label yet. */
export async function readChoices() {
  const key = choicesAddress();
  if (key === shown.choicesKey) return choicesRead;
  shown.choicesKey = key;
  choicesRead = askChoices(key);
  return choicesRead;
}
let choicesRead = Promise.resolve();
export const choicesAddress = () => resourceAddress('filters', new URLSearchParams());

/** @param {string} key */
async function askChoices(key) {
  const section = component('filters');
  try {
    const answer = await ask('filters', new URLSearchParams());
    if (key !== shown.choicesKey || !answer) return;
    shown.choices = answer.body;
    meet(answer.body.users);
    recover(section);
    parts.mend('filters');
    nameChosen();
    if (shown.report) await drawSources(shown.report);
  } catch (problem) {
    if (key !== shown.choicesKey) return;
    shown.choicesKey = '';
    if (unshowable(problem)) throw problem;
    const again = () => void (key === choicesAddress() && root.dataset.state !== 'error' ? readChoices().catch(showProblem) : parts.mend('filters'));
    fail(section, message(problem, words.labels.filters), again, waits(problem));
    parts.fail('filters', told(problem), again);
  }
}

/** The chosen sources and users, by the labels that are known so far. */
export function nameChosen() {
  listNames(find(document, '#sources-value'), chosen('source').map(sourceLabel), text.allSources);
  listNames(find(document, '#users-value'), chosen('user').map(userLabel), text.allUsers);
}

/** The first names and how many more there are; each is cut at its own end. @param {HTMLElement} value @param {string[]} names @param {string} all */
export function listNames(value, names, all) {
  const [first, second] = names;
  const rest = names.length > 2 ? ` +${names.length - 2}` : null;
  const drawn = JSON.stringify([first ?? all, second, rest]);
  if (value.dataset.drawn === drawn) return;
  value.dataset.drawn = drawn;
  value.replaceChildren(...(first == null ? [all] : [h('bdi', {}, first), second == null ? '' : ', ', second == null ? '' : h('bdi', {}, second), rest ?? '']));
}
