/** Offers sources, users, workspaces and time zones in searchable lists. Loaded when the first of them is opened. */

import { address, choose, chosen, go } from './address.js';
import { readChoices } from './choices.js';
import { find, h, say, set } from './elements.js';
import { listWorkspaces, workspaceLinks } from './guides.js';
import { retryDelay } from './line.js';
import { ask, Problem, request } from './request.js';
import { knownUser, shown, sourceLabel } from './view.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./types.js').Choices} Choices */
/** @typedef {import('./types.js').Zones} Zones */

const SEARCH_MS = 150;
const USERS_LISTED = 100;
const ZONES_LISTED = 80;

/** Upper and lower case, accents and separators make no difference to a search. @param {string} name */
const plain = (name) => name.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase().replace(/[_/\s]+/g, ' ').trim();

/** Puts an open panel below its control, within the window. @param {HTMLElement} panel @param {HTMLElement} control */
function below(panel, control) {
  const box = control.getBoundingClientRect();
  panel.style.minWidth = `${box.width}px`;
  panel.style.left = '0';
  panel.style.top = `${box.bottom + scrollY + 4}px`;
  panel.style.left = `${Math.max(8, Math.min(box.left, document.documentElement.clientWidth - panel.offsetWidth - 8)) + scrollX}px`;
}

/**
 * A panel with a search field over a list; the browser opens and closes it.
 * @param {HTMLElement} button @param {string} name
 * @param {(query: string, list: HTMLElement) => void | Promise<void>} fill
 */
function panelFor(button, name, fill) {
  if (/** @type {any} */ (button).popoverTargetElement) return;
  const list = h('ul', {});
  let timer = 0;
  let turn = 0;
  /** Fills the list; while that fails it says so, and asks again as long as the panel is open. @param {number} [tries] */
  const run = async (tries = 0) => {
    const mine = ++turn;
    clearTimeout(timer);
    try {
      await fill(field.value.trim(), list);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (mine !== turn || !panel.matches(':popover-open')) return;
      list.replaceChildren(h('li', { class: 'quiet', role: 'alert' }, text.failed(button.textContent ?? name)));
      timer = setTimeout(() => void run(tries + 1), retryDelay(tries, problem.retrySeconds));
    }
  };
  const field = /** @type {HTMLInputElement} */ (h('input', {
    type: 'search', 'aria-label': text.search, placeholder: text.search, autocomplete: 'off', spellcheck: 'false',
    input: () => {
      clearTimeout(timer);
      timer = setTimeout(() => void run(), SEARCH_MS);
    },
  }));
  const panel = h('div', {
    class: 'choices', popover: 'auto', role: 'dialog', 'aria-label': name,
    toggle: (/** @type {any} */ event) => {
      set(button, 'aria-expanded', String(event.newState === 'open'));
      clearTimeout(timer);
      if (event.newState !== 'open') return;
      field.value = '';
      void run().then(() => below(panel, button));
      below(panel, button);
      if (matchMedia('(hover: hover)').matches) field.focus();
    },
    keydown: (/** @type {KeyboardEvent} */ event) => {
      const stops = /** @type {HTMLElement[]} */ ([field, ...list.querySelectorAll('input, a, button')]);
      const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      stops[Math.min(Math.max(stops.indexOf(/** @type {HTMLElement} */ (document.activeElement)) + move, 0), stops.length - 1)]?.focus();
    },
  }, field, list);
  button.after(panel);
  /** @type {any} */ (button).popoverTargetElement = panel;
  /** @type {any} */ (panel).showPopover();
}

/**
 * Boxes to tick; each tick is a view of its own.
 * @param {HTMLElement} list @param {string} parameter @param {{ value: string, label: string, note?: string }[]} options @param {string | null} rest
 */
function boxes(list, parameter, options, rest) {
  const picked = chosen(parameter);
  const clear = h('li', {}, h('button', {
    type: 'button', class: 'clear', click: () => {
      go((to) => to.delete(parameter));
      for (const box of list.querySelectorAll('input')) box.checked = false;
    },
  }, parameter === 'source' ? text.allSources : text.allUsers));
  list.replaceChildren(clear, ...options.map(({ value, label, note }, place) => {
    const box = /** @type {HTMLInputElement} */ (h('input', {
      type: 'checkbox', value, change: () => {
        const others = chosen(parameter).filter((one) => one !== value);
        go((to) => choose(to, parameter, box.checked ? [...others, value] : others));
      },
    }));
    box.checked = picked.includes(value);
    const id = note ? `note-${parameter}-${place}` : null;
    set(box, 'aria-describedby', id);
    return h('li', {}, h('label', {}, box, h('bdi', {}, label)), note ? h('small', { id, dir: 'auto' }, note) : null);
  }), ...(options.length ? [] : [h('li', { class: 'quiet' }, text.noMatch)]), ...(rest ? [h('li', { class: 'quiet' }, rest)] : []));
}

/** @param {HTMLElement} button */
export function openSources(button) {
  panelFor(button, text.chooseSource, async (query, list) => {
    await readChoices();
    const known = shown.choices?.sources.map(({ source }) => source) ?? Object.keys(words.sources).slice(0, 5);
    const all = new Set([...known, ...chosen('source')]);
    all.delete('none');
    const matches = [...all, 'none'].filter((source) => plain(`${sourceLabel(source)} ${source}`).includes(plain(query)));
    boxes(list, 'source', matches.map((source) => ({ value: source, label: sourceLabel(source), note: words.explanations[source] })), null);
  });
}

/** A user to tick: the name with the id below it, or the id alone. @param {string} id @param {string | null} [name] */
function option(id, name) {
  const [label, note] = [words.named(name, id), words.shownId(id)];
  return { value: id, label, note: label === note ? undefined : note };
}

/** @param {HTMLElement} button */
export function openUsers(button) {
  let asked = '';
  panelFor(button, text.chooseUser, async (query, list) => {
    asked = query;
    await readChoices();
    /** @type {Choices | null} */
    let found = shown.choices;
    if (query || !found) {
      const answer = await ask('filters', new URLSearchParams({ ...(query ? { q: query } : {}), limit: String(USERS_LISTED) }));
      if (asked !== query) return;
      found = answer?.body ?? null;
    }
    const matches = (found?.users ?? []).filter((user) => user.user_id != null).map((user) => option(user.user_id ?? '', user.user_name));
    const first = query ? [] : chosen('user').filter((id) => id !== 'none').map((id) => option(id, knownUser(id)?.user_name));
    const none = plain(text.noUser).includes(plain(query)) ? [{ value: 'none', label: text.noUser }] : [];
    const others = matches.filter(({ value }) => !first.some((one) => one.value === value)).slice(0, USERS_LISTED);
    const omitted = (found?.users_omitted?.count ?? 0) + Math.max(0, matches.length - USERS_LISTED);
    boxes(list, 'user', [...none, ...first, ...others], omitted > 0 ? text.moreUsers(omitted) : null);
  });
}

/** @param {HTMLElement} button */
export function openWorkspaces(button) {
  let asked = '';
  panelFor(button, text.chooseWorkspace, async (query, list) => {
    asked = query;
    const listed = await listWorkspaces(query, null);
    if (asked === query) workspaceLinks(list, listed, query);
  });
}

// Time zones

/** @typedef {{ zone: string, find: string, also: string[] }} Zone */
/** @type {Promise<{ zones: Zone[], aliases: Record<string, string> }> | null} */
let zonesRead = null;
/** @type {HTMLElement | null} */
let listbox = null;
let active = -1;

/** The zones of the API's data; where they cannot be had, those that the browser knows. */
function readZones() {
  zonesRead ??= request(new URL('v1/timezones', document.baseURI).href, { Accept: 'application/json' }).then((response) => response.json()).catch(() => null).then((/** @type {Zones | null} */ given) => {
    if (!given) zonesRead = null; // asked again by the next who needs them
    const names = given?.timezones ?? ['UTC', .../** @type {any} */ (Intl).supportedValuesOf('timeZone')];
    /** @type {Map<string, string[]>} */
    const also = new Map();
    for (const [alias, zone] of Object.entries(given?.aliases ?? {})) also.set(zone, [...(also.get(zone) ?? []), alias]);
    return { zones: names.map((/** @type {string} */ zone) => ({ zone, also: also.get(zone) ?? [], find: plain([zone, ...(also.get(zone) ?? [])].join(' | ')) })), aliases: given?.aliases ?? {} };
  });
  return zonesRead;
}

/** The clock of a zone now, for telling zones apart; empty where this browser does not know it. @param {string} timeZone */
function clockIn(timeZone) {
  try {
    return new Intl.DateTimeFormat(undefined, { timeZone, hour: '2-digit', minute: '2-digit', timeZoneName: 'shortOffset' }).format(new Date());
  } catch {
    return '';
  }
}

const field = () => /** @type {HTMLInputElement} */ (find(document, '#timezone'));

/** @param {string} typed */
async function matchingZones(typed) {
  const { zones } = await readZones();
  const query = plain(typed);
  const home = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const rank = (/** @type {Zone} */ { zone, find: found }) => (zone === home && !query ? 0 : plain(zone) === query ? 1 : plain(zone.slice(zone.lastIndexOf('/') + 1)).startsWith(query) ? 2 : found.startsWith(query) ? 3 : 4);
  return zones.filter((zone) => zone.find.includes(query)).sort((a, b) => (query || a.zone === home || b.zone === home ? rank(a) - rank(b) : 0)).slice(0, ZONES_LISTED);
}

/** @param {string} typed */
async function showZones(typed) {
  const input = field();
  const matches = await matchingZones(typed);
  if (!listbox || document.activeElement !== input) return;
  active = typed && matches.length ? 0 : -1;
  const query = plain(typed);
  listbox.replaceChildren(...matches.map(({ zone, also }, place) => {
    const alias = query && !plain(zone).includes(query) ? also.find((name) => plain(name).includes(query)) : null;
    return h('li', { role: 'option', id: `zone-${place}`, 'data-zone': zone, 'aria-selected': String(place === active), pointerdown: (/** @type {Event} */ event) => event.preventDefault(), click: () => pickZone(zone) },
      h('span', {}, alias ? `${zone} (${alias})` : zone), h('small', {}, clockIn(zone)));
  }), ...(matches.length ? [] : [h('li', { role: 'option', 'aria-disabled': 'true', 'aria-selected': 'false', class: 'quiet' }, text.noMatch)]));
  if (!listbox.matches(':popover-open')) /** @type {any} */ (listbox).showPopover();
  below(listbox, input);
  set(input, 'aria-expanded', 'true');
  set(input, 'aria-activedescendant', active < 0 ? null : `zone-${active}`);
}

function closeZones() {
  if (listbox?.matches(':popover-open')) /** @type {any} */ (listbox).hidePopover();
  set(field(), 'aria-expanded', 'false');
  set(field(), 'aria-activedescendant', null);
  active = -1;
}

/** @param {string} zone */
function pickZone(zone) {
  field().value = zone;
  closeZones();
  go((to) => to.set('timezone', zone));
}

/** What was typed, as a zone: its own name or an alias in any case, else the best match; what is no zone goes back to the present one. @param {string} typed */
export async function commitZone(typed) {
  const wanted = typed.trim();
  const { zones, aliases } = await readZones();
  const exact = [...zones.map(({ zone }) => zone), ...Object.keys(aliases)].find((zone) => zone.toLowerCase() === wanted.toLowerCase());
  const best = exact ?? (wanted ? (await matchingZones(wanted))[0]?.zone : undefined);
  if (best) pickZone(best);
  else field().value = address().get('timezone') ?? '';
}

/** The field becomes a searchable list. */
export function offerZones() {
  if (listbox) return;
  const input = field();
  listbox = h('ul', { role: 'listbox', id: 'zones', class: 'choices zones', popover: 'manual', 'aria-label': text.zones });
  input.after(listbox);
  set(input, 'aria-controls', 'zones');
  const show = () => void showZones(input.value === address().get('timezone') ? '' : input.value);
  input.addEventListener('input', show);
  input.addEventListener('click', show);
  input.addEventListener('focus', () => input.select());
  input.addEventListener('blur', () => {
    closeZones();
    setTimeout(() => { input.value = address().get('timezone') ?? ''; }, 300);
  });
  input.addEventListener('keydown', (event) => {
    const options = [...(listbox?.querySelectorAll('[data-zone]') ?? [])];
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      if (!listbox?.matches(':popover-open')) return show();
      active = (active + (event.key === 'ArrowDown' ? 1 : -1) + options.length) % options.length;
      options.forEach((option, place) => set(option, 'aria-selected', String(place === active)));
      options[active]?.scrollIntoView({ block: 'nearest' });
      set(input, 'aria-activedescendant', `zone-${active}`);
    } else if (event.key === 'Enter' && active >= 0 && options[active]) {
      event.preventDefault();
      pickZone(/** @type {HTMLElement} */ (options[active]).dataset.zone ?? '');
    } else if (event.key === 'Escape') {
      closeZones();
      input.value = address().get('timezone') ?? '';
    }
    return undefined;
  });
  input.select();
  if (input.value !== address().get('timezone')) show();
  say(/** @type {Element} */ (listbox), '');
}
