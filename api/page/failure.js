/** Shows that the report failed: each part is tried alone, and says so where it failed too. */

import { revisit } from './address.js';
import { drawCard } from './cards.js';
import { charts, users } from './components.js';
import { component, fail, find, recover, root, say } from './elements.js';
import { connection, hear } from './freshness.js';
import { FIRST_EVENT_MS } from './live.js';
import { dateModel, drawSources } from './report.js';
import { ask, message, waits } from './request.js';
import { shown } from './view.js';
import * as words from './words.js';

/** @typedef {import('./request.js').Problem} Problem */

export const REPORT_COMPONENTS = ['added', 'deleted', 'added-by-date', 'deleted-by-date', 'added-by-source', 'users'];

/** The report has no answer: its parts say so, and nothing of another question stays. @param {Problem} problem @param {number} mine */
export async function failed(problem, mine) {
  const already = root.dataset.fault === 'yes';
  shown.reportKey = '';
  root.dataset.fault = 'yes';
  if (!already) clearReport();
  const current = () => mine === shown.view && connection !== 'stream';
  // Where the API fails, each part is tried alone, so that one fault takes one part.
  const trying = problem.status >= 500 && !waits(problem) && showAlone(problem, current);
  if (trying && (await Promise.race([trying, new Promise((resolve) => { setTimeout(resolve, FIRST_EVENT_MS, 'late'); })])) !== 'late') return;
  if (current() && !(trying && already)) for (const name of REPORT_COMPONENTS) failPart(name, problem);
}

/** @param {string} name @param {Problem} problem */
function failPart(name, problem) {
  component(name).removeAttribute('aria-busy');
  fail(component(name), message(problem, words.parts[name]), () => void revisit(), waits(problem));
}

function clearReport() {
  say(find(document, '#range'), '');
  document.title = words.labels.title;
  const warnings = find(document, '#warnings');
  warnings.dataset.told = '';
  warnings.hidden = true;
  for (const name of ['added', 'deleted']) find(component(name), '.body').replaceChildren();
  for (const chart of Object.values(charts)) chart.clear();
  const legend = find(component('added-by-source'), '.legend');
  legend.dataset.key = '';
  legend.replaceChildren();
  users.clear();
}

/** Asks for each part alone, so that one fault takes one part. @param {Problem} problem @param {() => boolean} current whether the address is still the same */
async function showAlone(problem, current) {
  /** @type {Record<string, any>} */
  const answers = {};
  await Promise.all(['summary', 'timeline', 'sources', 'users'].map(async (resource) => {
    answers[resource] = await ask(resource).then((answer) => answer?.body, () => null);
  }));
  if (!current()) return;
  /** @param {string} name @param {boolean} answered */
  const judge = (name, answered) => {
    component(name).removeAttribute('aria-busy');
    if (answered) recover(component(name));
    else failPart(name, problem);
  };
  const any = answers.summary ?? answers.timeline ?? answers.sources;
  if (any) hear(any.freshness);
  const timeline = answers.timeline?.timeline ?? [];
  for (const kind of /** @type {const} */ (['added', 'deleted'])) {
    if (answers.summary) drawCard(component(kind), { ...answers.summary, timeline }, kind);
    if (answers.timeline) await charts[kind].draw(dateModel(answers.timeline, kind));
    if (!current()) return;
    judge(kind, Boolean(answers.summary));
    judge(`${kind}-by-date`, Boolean(answers.timeline));
  }
  if (answers.sources) await drawSources({ ...answers.sources, added: { count: Object.values(answers.sources.sources.totals).reduce((sum, value) => sum + value, 0) } });
  if (!current()) return;
  judge('added-by-source', Boolean(answers.sources));
  if (answers.users) users.draw(answers.users.users, 0);
  judge('users', Boolean(answers.users));
}
