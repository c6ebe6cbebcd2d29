/** Shows what stands in place of numbers: a choice of workspaces, a token's form, a wrong link, an empty workspace. Loaded after the first view. */

import { address, go, revisit } from './address.js';
import { find, h, set } from './elements.js';
import { persist } from './line.js';
import { ask, json, keepToken, request, token } from './request.js';
import { shown } from './view.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./request.js').Problem} Problem */
/** @typedef {import('./types.js').Workspaces} Workspaces */

/** @param {string} kind @param {...(Node | null)} content */
function guide(kind, ...content) {
  const section = find(document, '#guide');
  section.dataset.kind = kind;
  section.replaceChildren(...content.filter((one) => one != null));
  section.hidden = false;
  find(document, '#view').hidden = true;
}

/** @param {string} query @param {string | null} cursor @returns {Promise<Workspaces>} */
export async function listWorkspaces(query, cursor) {
  const parameters = new URLSearchParams({ ...(query ? { q: query } : {}), ...(cursor ? { cursor } : {}) });
  return json(await request(new URL(`v1/workspaces?${parameters}`, document.baseURI).href, { Accept: 'application/json' }));
}

/** Links to workspaces, further ones behind the last. @param {HTMLElement} list @param {Workspaces} listed @param {string} query @param {boolean} [more] */
export function workspaceLinks(list, listed, query, more = false) {
  const here = address().get('workspace');
  const links = listed.workspaces.map(({ workspace_id: id }) => {
    const to = new URLSearchParams([...address()].filter(([name]) => !['workspace', 'source', 'user', 'table'].includes(name)));
    to.set('workspace', id);
    return h('li', {}, h('a', {
      href: `?${to}`, 'aria-current': id === here ? 'true' : null,
      click: (/** @type {MouseEvent} */ event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        /** @type {any} */ (list.closest('[popover]'))?.hidePopover();
        go((parameters) => {
          for (const name of ['source', 'user', 'table']) parameters.delete(name);
          parameters.set('workspace', id);
        });
      },
    }, id));
  });
  const rest = listed.next_cursor ? h('li', {}, h('button', {
    type: 'button', class: 'clear', click: (/** @type {Event} */ event) => void listWorkspaces(query, listed.next_cursor).then((next) => {
      /** @type {HTMLElement} */ (event.target).closest('li')?.remove();
      workspaceLinks(list, next, query, true);
    }, () => {}), // it stays, to be pressed again
  }, '…')) : null;
  if (!more) list.replaceChildren();
  list.append(...links, ...(rest ? [rest] : []), ...(links.length || more ? [] : [h('li', { class: 'quiet' }, text.noMatch)]));
}

/** @param {Workspaces} listed */
export function workspaces(listed) {
  if (!listed.workspaces.length) return guide('workspaces', h('h2', {}, text.noWorkspaces), h('p', {}, text.noWorkspacesYet), ...firstEvent('w1'));
  const list = h('ul', { class: 'workspaces' });
  guide('workspaces', h('h2', {}, text.chooseWorkspace), list);
  return workspaceLinks(list, listed, '');
}

/** @param {Problem} problem */
export function problem(problem) {
  const { status, body } = problem;
  if (status === 401) return tokenForm(token() ? text.tokenExpired : null);
  if (status === 403) {
    return guide('forbidden', h('div', { role: 'alert' }, h('h2', {}, text.forbidden(words.shownId(address().get('workspace') ?? ''))), h('p', {}, body.detail ?? '')),
      h('button', { type: 'button', click: () => tokenForm(null) }, text.otherToken));
  }
  if (status === 400) return wrongLink(body);
  return guide('problem', h('div', { role: 'alert' }, h('h2', {}, status === 404 ? text.notFound : text.fault), h('p', {}, body.detail ?? '')),
    h('button', { type: 'button', click: () => void revisit() }, text.tryAgain));
}

/** Every wrong parameter with what is wrong about it, and a way on without it. @param {import('./types.js').ProblemBody} body */
function wrongLink({ errors = [], detail }) {
  const wrong = [...new Set(errors.map(({ parameter }) => parameter))];
  guide('wrong', h('div', { role: 'alert' }, h('h2', {}, text.wrongLink), errors.length ? null : h('p', {}, words.straight(detail ?? '')),
    h('dl', {}, ...errors.flatMap(({ parameter, message }) => [h('dt', {}, h('code', { dir: 'auto' }, words.shownId(parameter))), h('dd', {}, words.straight(message))]))),
  h('p', { class: 'ways' }, wrong.length === 1 ? h('button', { type: 'button', click: () => go((to) => without(to, wrong)) }, text.removeParameter(words.isolate(words.shownId(wrong[0])))) : null,
    h('button', { type: 'button', click: () => go((to) => without(to, [...to.keys()].filter((name) => !['workspace', 'embed'].includes(name)))) }, text.openDefault)));
}

/** A date goes with its other end, also where it is the table's. @param {URLSearchParams} to @param {string[]} names */
function without(to, names) {
  for (const name of names) to.delete(name);
  if (names.includes('from') || names.includes('to')) for (const name of ['from', 'to', 'table']) to.delete(name);
}

/** A token that was not accepted is not taken a second time from the page around the frame. @type {string | null} */
let refused = null;

/** @param {string | null} trouble */
function tokenForm(trouble) {
  refused = token();
  keepToken(null);
  if (parent !== window) parent.postMessage({ type: 'contacts-report.token-wanted' }, '*');
  const field = /** @type {HTMLInputElement} */ (h('input', { type: 'password', id: 'token', autocomplete: 'off', required: true, spellcheck: 'false' }));
  guide('token', h('form', {
    submit: (/** @type {Event} */ event) => {
      event.preventDefault();
      keepToken(field.value.trim());
      void revisit();
    },
  }, h('h2', {}, text.tokenTitle), h('p', { role: 'alert' }, trouble ?? text.tokenHelp), h('label', { for: 'token' }, text.tokenLabel), field, h('button', { type: 'submit', class: 'main' }, text.tokenOpen)));
  field.focus();
}

/** @param {string} workspace */
function firstEvent(workspace) {
  const event = { id: 'first-event', type: 'contact.added', workspace_id: workspace, contact_id: '1', contact_name: 'Ada Lovelace', source: 'user', user_id: 'u_1', user_name: 'Grace', occurred_at: new Date().toISOString() };
  const command = `echo '${JSON.stringify(event)}' | contacts-report publish -`;
  return [h('p', {}, text.firstEvent), h('pre', { tabindex: 0, role: 'region', 'aria-label': text.firstEvent }, command)];
}

/** No number in this range: a workspace without any event, or only a quiet range. Raises Problem. @param {import('./types.js').Report} report */
export async function emptiness(report) {
  const section = find(document, '#empty');
  const workspace = address().get('workspace') ?? '';
  const answer = await ask('summary', new URLSearchParams({ period: 'all', timezone: report.query.timezone }));
  if (!answer || report !== shown.report) return;
  const empty = answer.body.added.count + answer.body.deleted.count === 0;
  set(section, 'data-kind', empty ? 'empty' : 'quiet');
  section.replaceChildren(...(empty
    ? [h('h2', {}, text.emptyWorkspace(workspace)), ...firstEvent(workspace)]
    : [h('p', {}, text.quietPeriod), h('button', {
      type: 'button', click: () => go((to) => {
        for (const name of ['from', 'to', 'interval', 'source', 'user', 'table', 'activity']) to.delete(name);
        to.set('period', 'all');
      }),
    }, text.showEverything)]));
  section.hidden = false;
}

// Embedding

/** Whether a source of `frame-ancestors` is this origin. @param {string} source @param {string} origin */
function matches(source, origin) {
  if (source === "'self'") return origin === location.origin;
  const wildcard = /^([a-z]+:\/\/)?\*\.(.+)$/i.exec(source);
  if (!wildcard) return source.replace(/\/$/, '').toLowerCase() === origin;
  return origin.startsWith(wildcard[1] ?? '') && origin.endsWith(`.${wildcard[2]}`);
}

/** The origins that may frame this page are those that its own policy lists. @param {string} origin */
async function listed(origin) {
  const policy = (await persist(() => fetch(location.pathname, { cache: 'no-cache' }))).headers.get('Content-Security-Policy') ?? '';
  const sources = /frame-ancestors ([^;]*)/.exec(policy)?.[1].split(/\s+/) ?? [];
  return sources.some((source) => matches(source, origin));
}

/** The page around the frame may hand over a token: `{type: 'contacts-report.token', token}`, from a listed origin alone. @param {MessageEvent} event of the page around the frame */
export async function acceptToken({ data, origin }) {
  if (data?.type !== 'contacts-report.token' || typeof data.token !== 'string' || data.token === refused || !(await listed(origin))) return;
  keepToken(data.token);
  void revisit();
}

