/** Comes to an address: asks for what it names, and shows the answers. */

import { address, go, resourceAddress, tableParameters } from './address.js';
import { choicesAddress, hasUnnamed, nameChosen, readChoices } from './choices.js';
import { meet, table, users } from './components.js';
import { drawControls, drawRange } from './controls.js';
import { component, fail, find, root, set } from './elements.js';
import { REPORT_COMPONENTS } from './failure.js';
import { hear, parts } from './freshness.js';
import { live } from './live.js';
import { drawEmptiness, guides, ownZone, showProblem } from './problem.js';
import { drawReport } from './report.js';
import { json, message, request, told, unshowable, waits } from './request.js';
import { shown } from './view.js';
import * as words from './words.js';

/** @typedef {import('./types.js').Report} Report */

/** The drawing of the newest report. */
let latestDrawing = Promise.resolve();

/** Shows what the address asks for. Parts whose question is the same stay as they are. @returns {Promise<void>} */
export async function visit() {
  const mine = ++shown.turn;
  const here = address();
  root.dataset.state = 'loading';
  if (here.get('workspace')) parts.mend('page');
  if (root.dataset.workspace !== (here.get('workspace') ?? '')) {
    shown.named = [];
    words.forgetUsers();
  }
  root.dataset.workspace = here.get('workspace') ?? '';
  if (!here.get('workspace')) return chooseWorkspace();
  if (!here.get('timezone')) go((to) => to.set('timezone', ownZone()), 'replace');
  leaveGuide();
  if (shown.choicesKey !== choicesAddress()) shown.choices = null;
  drawControls();
  const key = resourceAddress('');
  const sameReport = key === shown.reportKey && shown.report && root.dataset.fault !== 'yes';
  const rows = resourceAddress('activities', tableParameters());
  const sameRows = rows === shown.tableKey && (component('activities').dataset.state !== 'error' || 'kept' in component('activities').dataset);
  root.dataset.fault = 'no';
  if (!sameReport) for (const name of REPORT_COMPONENTS) set(component(name), 'aria-busy', 'true');
  try {
    await Promise.all([
      sameReport ? drawn() : open(key),
      sameRows ? opening : openTable(rows),
    ]);
    if (!sameReport && sameRows) void table.refresh().catch(() => {});
    if (mine === shown.turn && hasUnnamed()) await readChoices();
    if (mine === shown.turn) root.dataset.state = 'ready';
  } catch (problem) {
    if (mine === shown.turn) await showProblem(problem);
  }
}

/** @param {string} key */
async function open(key) {
  const mine = ++shown.view;
  live.stop();
  shown.reportKey = '';
  shown.report = null;
  users.begin();
  parts.mend('users');
  const first = await live.start(mine);
  if (mine !== shown.view || !first) return;
  if (root.dataset.fault !== 'yes') shown.reportKey = key;
  if (document.hidden) live.pause();
  await drawn();
}

/** The newest report is there whole: one that comes while another is drawn takes its place. */
async function drawn() {
  for (let seen; seen !== latestDrawing;) await (seen = latestDrawing);
}

/** @param {string} key @returns {Promise<void>} */
function openTable(key) {
  shown.tableKey = key;
  opening = askTable(key);
  return opening;
}
let opening = Promise.resolve();
let opened = 0;

/** @param {string} key */
async function askTable(key) {
  const section = component('activities');
  const mine = ++opened;
  set(section, 'aria-busy', 'true');
  try {
    await table.open(tableParameters());
  } catch (problem) {
    if (mine !== opened || key !== shown.tableKey) return;
    if (unshowable(problem)) throw problem;
    const again = () => void (mine === opened && key === shown.tableKey && openTable(key).catch(showProblem));
    table.clear();
    fail(section, message(problem, words.labels.activities), again, waits(problem));
    parts.fail('activities', told(problem), again);
  } finally {
    if (mine === opened) section.removeAttribute('aria-busy');
  }
}

/** Draws a report that arrived. @param {Report} next @param {number} mine @param {boolean} moved it says other numbers than the one before */
export async function show(next, mine, moved) {
  if (mine !== shown.view) return;
  shown.report = next;
  shown.named = next.users;
  meet(shown.named);
  hear(next.freshness);
  drawRange(next);
  latestDrawing = drawWhole(next, mine);
  await latestDrawing;
  if (mine !== shown.view) return;
  const recovered = root.dataset.fault === 'yes';
  shown.reportKey = resourceAddress('');
  root.dataset.fault = 'no';
  if (moved || recovered) void table.refresh().catch(() => {});
}

/** @param {Report} next @param {number} mine */
async function drawWhole(next, mine) {
  if (!(await drawReport(next, () => mine !== shown.view || next !== shown.report))) return;
  void drawEmptiness(next);
  nameChosen();
  if (root.dataset.state === 'ready' && hasUnnamed()) void readChoices().catch(() => {});
}

/** @returns {Promise<void>} */
async function chooseWorkspace() {
  const mine = shown.turn;
  shown.view += 1;
  shown.reportKey = shown.tableKey = ''; // both miss what comes meanwhile
  live.stop();
  drawControls();
  try {
    const listed = await json(await request(new URL('v1/workspaces', document.baseURI).href, { Accept: 'application/json' }));
    if (mine !== shown.turn) return undefined;
    if (listed.workspaces.length === 1) {
      go((to) => to.set('workspace', listed.workspaces[0].workspace_id), 'replace');
      return visit();
    }
    parts.mend('page');
    (await guides()).workspaces(listed);
    root.dataset.state = 'ready';
  } catch (problem) {
    if (mine === shown.turn) await showProblem(problem);
  }
  return undefined;
}

function leaveGuide() {
  find(document, '#guide').hidden = true;
  find(document, '#view').hidden = false;
  find(document, '#empty').hidden = true;
}
