/** Holds what the page shows now, and the names of what it shows. */

import * as words from './words.js';

/** @typedef {import('./types.js').Report} Report */
/** @typedef {import('./types.js').Choices} Choices */

export const shown = {
  /** Counts visits: each address that was come to. */
  turn: 0,
  /** Counts reports and their lines: a visit that leaves the report's question as it was does not count. */
  view: 0,
  /** @type {Report | null} */
  report: null,
  /** Users whose labels the last report of the workspace told. @type {Report['users']} */
  named: [],
  /** @type {Choices | null} */
  choices: null,
  /** What was asked for the report, the choices and the table that are shown. */
  reportKey: '',
  choicesKey: '',
  tableKey: '',
};

/** Our own word first, so that a source is not renamed when the API's labels come. @param {string} name */
export function sourceLabel(name) {
  return words.sources[name] ?? words.named(shown.choices?.sources.find((one) => one.source === name)?.label, name);
}

/** @param {string} id */
export const knownUser = (id) => (shown.choices?.users ?? []).concat(shown.named).find((one) => one.user_id === id);

/** @param {string} id */
export const userLabel = (id) => words.userName(knownUser(id) ?? { user_id: id, user_name: null });
