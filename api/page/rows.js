/** Makes the rows of the activity table: activities, and imports that open. */

import { h } from './elements.js';
import { who } from './users.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./types.js').Row} Row */

/**
 * A row as shown: an activity, an import of many, or one of its activities below it.
 * @typedef {{ row: Row, inner: boolean, open: boolean, more: { cursor: string | null, from: Line } | null }} Line
 */

/** @param {Row} row @returns {Line} */
export const line = (row) => ({ row, inner: false, open: false, more: null });

/** A row that is on its way, or a way to ask for it again. @param {Node | string} content */
export const waitingRow = (content) => h('tr', { role: 'row', class: 'waiting' }, h('td', { role: 'gridcell' }, content));

/** The elements of lines, each made once. */
export class Rows {
  /** @param {(source: string) => string} label @param {(shown: Line) => void} toggle opens or closes an import */
  constructor(label, toggle) {
    this.label = label;
    this.toggle = toggle;
    /** @type {WeakMap<Line, HTMLElement>} */
    this.made = new WeakMap();
  }

  /** All rows are made again: others say now who is who. */
  renew() {
    this.made = new WeakMap();
  }

  /** @param {Line} shown */
  of(shown) {
    const known = this.made.get(shown);
    if (known) return known;
    const made = shown.more ? waitingRow(text.loading) : shown.row.rows != null ? this.importRow(shown) : this.activityRow(shown);
    this.made.set(shown, made);
    return made;
  }

  /** @param {Line} shown */
  activityRow({ row, inner }) {
    return h('tr', { role: 'row', class: inner ? 'inner' : null, 'aria-level': inner ? 2 : 1, 'data-event-id': row.event_id }, ...this.cells(row, row.occurred_at, words.shownId(row.contact_id ?? ''), row.contact_name == null ? '' : words.named(row.contact_name, row.contact_id ?? '')));
  }

  /** @param {Line} shown */
  importRow(shown) {
    const { row } = shown;
    const element = h('tr', {
      role: 'row', class: 'import', tabindex: 0, 'aria-level': 1, 'data-batch-id': row.batch_id, 'data-value': row.rows, 'aria-expanded': String(shown.open),
      click: () => this.toggle(shown),
      keydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key === 'Enter' || event.key === ' ' || event.key === (shown.open ? 'ArrowLeft' : 'ArrowRight')) {
          event.preventDefault();
          this.toggle(shown);
        }
      },
    }, ...this.cells(row, row.occurred_at ?? row.last ?? '', words.shownId(row.batch_id ?? ''), h('b', {}, text.imported(row.rows ?? 0, words.activities[row.activity].toLowerCase()))));
    return element;
  }

  /** Each text in its own direction, cut at its own end. @param {Row} row @param {string} time @param {string} id @param {Node | string} name */
  cells(row, time, id, name) {
    const folded = row.rows != null;
    const none = folded ? '' : text.nothing;
    const user = row.user_id == null ? none : words.userName(row);
    const titles = [words.exactMoment(time), folded ? text.batch(id) : id, typeof name === 'string' ? name : '', '', '', user];
    return [h('time', { datetime: time }, words.moment(time)), id, name, h('span', { class: `activity ${row.activity}` }, words.activities[row.activity]), row.source ? this.label(row.source) : none, user === none ? none : who(row)]
      .map((content, place) => h('td', { role: 'gridcell', dir: typeof content === 'string' ? 'auto' : null, title: titles[place] || null }, ...[content].flat()));
  }
}

/** Gives the parent exactly these children, moving only what has to move. @param {HTMLElement} parent @param {HTMLElement[]} children */
export function place(parent, children) {
  const kept = new Set(children);
  for (const child of [...parent.children]) if (!kept.has(/** @type {HTMLElement} */ (child))) child.remove();
  let at = parent.firstElementChild;
  for (const child of children) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
}
