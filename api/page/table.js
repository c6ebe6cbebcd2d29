/** Shows the activities as endless rows, of which only those in view exist as elements. */

import { find, h, recover, say, set } from './elements.js';
import { News } from './news.js';
import { line, place, Rows, waitingRow } from './rows.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./types.js').Ask} Ask */
/** @typedef {import('./types.js').Row} Row */

const PAGE_ROWS = 100;
/** Pages whose rows stay in memory; those far from what is seen are asked for again by their cursors. */
const PAGES_KEPT = 40;
const SPARE_ROWS = 12;
/** While the pointer moved over the table so lately, new rows wait, so that nothing moves under the hand. */
const HAND_MS = 1500;


/** @typedef {import('./rows.js').Line} Line */
/** @typedef {{ cursor: string | null, count: number, lines: Line[] | null, parts: Map<string, number>, pinned: boolean, asking: boolean }} Page */

/** Endless rows of which only those in view exist as elements. */
export class ActivityTable {
  /**
   * @param {HTMLElement} section
   * @param {Ask} ask
   * @param {(source: string) => string} label
   * @param {() => void} turnOrder
   */
  constructor(section, ask, label, turnOrder) {
    this.section = section;
    this.ask = ask;
    this.rows = new Rows(label, (shown) => this.toggle(shown));
    this.turnOrder = turnOrder;
    this.parameters = new URLSearchParams();
    /** @type {Page[]} */
    this.pages = [];
    /** @type {number[]} */
    this.starts = [0];
    /** @type {string | null} */
    this.next = null;
    /** @type {string | null} */
    this.etag = null;
    this.shownTotal = 0;
    this.asking = false;
    /** The report moved while it asked. */
    this.again = false;
    /** The end came into view while it asked. */
    this.wanted = false;
    /** Rows failed, and wait to be asked for again. */
    this.waits = false;
    /** Told what failed, and how to ask again; null: it did not. @type {(part: 'activities' | 'rows', problem: unknown, again?: () => void) => void} */
    this.trouble = () => {};
    this.turn = 0;
    /** Where each import stands, by batch and activity. @type {Map<string, { page: Page, line: Line }>} */
    this.imports = new Map();
    this.handAt = -HAND_MS;
    this.top = 0;
    this.height = 640; // until the browser tells
    /** @type {number | undefined} */
    this.tall = undefined;
  }

  build() {
    if (this.body) return;
    const columns = [words.labels.time, words.labels.contactId, words.labels.contactName, words.labels.activity, words.labels.source, words.labels.user];
    this.order = h('button', { type: 'button', click: () => this.turnOrder() }, columns[0]);
    this.body = h('tbody', { role: 'rowgroup' });
    this.table = h('table', { role: 'treegrid', 'aria-label': words.labels.activities, 'aria-readonly': 'true' },
      h('thead', { role: 'rowgroup' }, h('tr', { role: 'row', 'aria-rowindex': 1 }, ...columns.map((name, place) => h('th', { role: 'columnheader', scope: 'col' }, place ? name : this.order ?? name)))),
      this.body);
    this.foot = h('p', { class: 'foot' });
    this.scroller = h('div', {
      class: 'rows', tabindex: 0, role: 'region', 'aria-label': words.labels.activities, scroll: () => this.scrolled(),
      pointermove: () => { this.handAt = performance.now(); },
      pointerleave: () => { this.handAt = -HAND_MS; },
    }, this.table, this.foot);
    this.scroller.style.setProperty('--letters', String(words.longestMoment()));
    this.news = new News(() => this.toNewest());
    this.kept = h('p', { class: 'note', hidden: true });
    find(this.section, '.body').replaceChildren(this.kept, this.news.bar, this.scroller);
    new ResizeObserver(([{ contentRect }]) => {
      this.height = contentRect.height;
      this.tall = undefined; // a narrow window has taller rows
      this.scrolled();
    }).observe(this.scroller);
  }

  /** Place and height are kept, because asking for them while rows are made would lay the page out each time. */
  scrolled() {
    this.top = this.scroller?.scrollTop ?? 0;
    this.render();
  }

  /** Another question: the table begins anew. @param {URLSearchParams} parameters */
  async open(parameters) {
    this.parameters = parameters;
    this.etag = null;
    await this.first();
  }

  /** The report moved: the newest rows come in, or are announced where they would move what is being read. */
  async refresh() {
    if (this.section.dataset.state === 'error' && !('kept' in this.section.dataset)) return this.first();
    this.again = this.asking || !this.body;
    if (this.again) return;
    this.asking = true;
    const turn = this.turn;
    try {
      const answer = await this.ask('activities', this.with(null), { etag: this.etag });
      if (turn !== this.turn) return;
      if (!answer) return this.trouble('activities', null);
      if (this.ascending()) await this.grow(answer.body);
      else if (this.held()) this.announce(answer.body.total);
      else this.fill(answer.body);
      if (turn !== this.turn) return;
      this.etag = answer.etag;
      this.trouble('activities', null);
    } catch (problem) {
      // The rows stay as they are, and the table says so.
      if (turn === this.turn) this.trouble('activities', problem, () => void this.refresh());
    } finally {
      this.asked();
    }
  }

  asked() {
    this.asking = false;
    if (this.again) void this.refresh().catch(() => {});
    else if (this.wanted) this.render();
  }

  /** Rows failed: those that are in view are asked for again in a while. @param {unknown} problem */
  wait(problem) {
    this.waits = true;
    this.trouble('rows', problem, () => this.askAgain());
  }

  askAgain() {
    this.waits = false;
    this.render();
    if (!this.asking && !this.pages.some((page) => page.asking)) this.trouble('rows', null);
  }

  async first() {
    const turn = ++this.turn;
    const answer = await this.ask('activities', this.with(null));
    if (!answer || turn !== this.turn) return;
    this.build();
    this.etag = answer.etag;
    this.waits = false;
    this.trouble('rows', null);
    if (this.scroller && this.top > 0) this.scroller.scrollTop = 0;
    this.top = 0;
    this.fill(answer.body);
    recover(this.section);
    this.trouble('activities', null);
    if (this.again) void this.refresh().catch(() => {});
  }

  /** Another question has no answer: no row of the one before stays. */
  clear() {
    this.turn += 1;
    this.next = null;
    this.waits = false;
    this.trouble('rows', null);
    if (this.body) this.fill({ activities: [], total: null, next_cursor: null, truncated_before: null });
  }

  /** @param {string | null} cursor */
  with(cursor) {
    const parameters = new URLSearchParams(this.parameters);
    parameters.set('limit', String(PAGE_ROWS));
    if (cursor) parameters.set('cursor', cursor);
    return parameters;
  }

  ascending() {
    return this.parameters.get('order') === 'asc';
  }

  held() {
    const selection = document.getSelection();
    return this.top > 4 || performance.now() - this.handAt < HAND_MS || this.pages.some((page) => page.pinned)
      || Boolean(selection && !selection.isCollapsed && this.body?.contains(selection.anchorNode));
  }

  /** @param {Pick<import('./types.js').Activities, 'activities' | 'total' | 'next_cursor' | 'truncated_before'>} answer the first page */
  fill(answer) {
    const known = new Map(this.pages[0]?.lines?.filter((one) => !one.inner && !one.open).map((one) => [JSON.stringify(one.row), one]) ?? []);
    this.imports.clear();
    this.pages = [newPage(null)];
    this.take(this.pages[0], answer.activities, known);
    this.next = answer.next_cursor;
    this.shownTotal = answer.total ?? 0;
    this.announce(answer.total);
    if (this.kept) {
      this.kept.hidden = !answer.truncated_before;
      say(this.kept, answer.truncated_before ? text.truncated(words.dateRange(answer.truncated_before.slice(0, 10), answer.truncated_before.slice(0, 10))) : '');
    }
    this.changed();
  }

  /** @param {import('./types.js').Activities} answer the oldest rows first: new ones lie at the end, where scrolling asks for them */
  async grow(answer) {
    this.shownTotal = answer.total ?? 0;
    this.announce(answer.total);
    if (this.next || this.pages.some((page) => page.pinned)) return;
    const last = this.pages.at(-1);
    if (!last?.cursor) return this.fill(answer);
    const turn = this.turn;
    const again = await this.ask('activities', this.with(last.cursor));
    if (!again || turn !== this.turn || last !== this.pages.at(-1)) return;
    this.take(last, again.body.activities);
    this.next = again.body.next_cursor;
    this.changed(this.pages.length - 1);
  }

  /** @param {number | null} total null where one import alone is listed */
  announce(total) {
    const count = Math.max(0, (total ?? 0) - this.shownTotal);
    const shown = find(this.section, '.total');
    set(shown, 'data-value', total ?? '');
    say(shown, total == null ? '' : text.activities(total));
    this.news?.announce(count);
  }

  async toNewest() {
    this.scroller?.scrollTo({ top: 0 });
    this.scroller?.focus({ preventScroll: true });
    await this.first().catch((problem) => this.trouble('activities', problem, () => void this.toNewest()));
  }

  changed(from = 0) {
    this.starts.length = Math.max(1, Math.min(from + 1, this.starts.length));
    for (let index = this.starts.length - 1; index < this.pages.length; index += 1) this.starts[index + 1] = this.starts[index] + this.pages[index].count;
    this.render();
  }

  /** The page that holds a line. @param {number} index */
  pageOf(index) {
    let low = 0;
    let high = this.pages.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  render() {
    const { scroller, body, table, foot } = this;
    if (!scroller || !body || !table || !foot) return;
    const tall = (this.tall ??= parseFloat(getComputedStyle(scroller).getPropertyValue('--row')));
    const count = this.starts[this.pages.length] ?? 0;
    const first = Math.max(0, Math.floor(this.top / tall) - SPARE_ROWS);
    const last = Math.min(count, Math.ceil((this.top + this.height) / tall) + SPARE_ROWS);
    const wanted = [];
    for (let index = first; index < last; index += 1) {
      const number = this.pageOf(index);
      const page = this.pages[number];
      const shown = page.lines?.[index - this.starts[number]];
      if (!page.lines) void this.fetchPage(page);
      if (shown?.more && !shown.open && !this.waits) void this.fetchInner(page, shown);
      const element = shown ? this.rows.of(shown) : waitingRow(text.loading);
      set(element, 'aria-rowindex', index + 2);
      wanted.push(element);
    }
    body.style.paddingBlockStart = `${first * tall}px`;
    body.style.height = `${count * tall}px`;
    scroller.style.maxHeight = this.next ? '' : `${(count + 1) * tall + 56}px`; // few rows leave no hole
    const held = body.contains(document.activeElement);
    place(body, wanted);
    if (held && !body.contains(document.activeElement)) scroller.focus({ preventScroll: true }); // keys go on scrolling
    set(table, 'aria-rowcount', this.next ? -1 : count + 1);
    if (!this.next || !this.waits) say(foot, this.next ? text.loading : count ? (this.ascending() ? text.allRowsAscending : text.allRows) : text.noRows);
    set(/** @type {Element} */ (this.order?.closest('th')), 'aria-sort', this.ascending() ? 'ascending' : 'descending');
    if (this.next && this.top + this.height * 2.5 > count * tall) void this.more();
    this.forget(this.pageOf(first));
  }

  async more() {
    this.wanted = this.asking;
    if (this.asking || !this.next || this.waits) return;
    this.asking = true;
    const turn = this.turn;
    const cursor = this.next;
    try {
      const answer = await this.ask('activities', this.with(cursor));
      if (!answer || turn !== this.turn || cursor !== this.next) return;
      const page = newPage(cursor);
      this.take(page, answer.body.activities);
      this.pages.push(page);
      this.next = answer.body.next_cursor;
      this.trouble('rows', null);
      this.changed(this.pages.length - 1);
    } catch (problem) {
      if (turn !== this.turn) return;
      this.foot?.replaceChildren(`${text.failed(words.labels.activities)} `, h('button', { type: 'button', click: () => this.askAgain() }, text.tryAgain));
      this.wait(problem);
    } finally {
      this.asked();
    }
  }

  /** Lines of a page's rows. An import that goes on from page to page stays one line, where it began. @param {Page} page @param {Row[]} rows @param {Map<string, Line>} [known] lines that may stay as they are */
  take(page, rows, known) {
    page.lines = [];
    if (words.meetUsers(rows)) this.rows.renew(); // others say now who is who
    for (const row of rows) {
      const key = `${row.activity} ${row.batch_id}`;
      const place = row.rows == null ? undefined : this.imports.get(key);
      if (!place) {
        const made = known?.get(JSON.stringify(row)) ?? line(row);
        if (row.rows != null) this.imports.set(key, { page, line: made });
        page.lines.push(made);
      } else {
        const whole = place.line;
        if (place.page === page) page.lines.push(whole);
        const more = (row.rows ?? 0) - (page.parts.get(key) ?? 0); // the page may have been read before
        if (more) {
          const end = this.ascending() ? { occurred_at: row.occurred_at, last: row.last } : { first: row.first };
          whole.row = { ...whole.row, ...end, rows: (whole.row.rows ?? 0) + more };
          this.rows.made.delete(whole);
        }
      }
      if (row.rows != null) page.parts.set(key, row.rows);
    }
    page.count = page.lines.length;
  }

  /** Rows that were let go come back by their page's cursor. @param {Page} page */
  async fetchPage(page) {
    if (page.asking || this.waits) return;
    page.asking = true;
    const turn = this.turn;
    try {
      const answer = await this.ask('activities', this.with(page.cursor));
      if (!answer || turn !== this.turn) return;
      this.take(page, answer.body.activities);
      this.trouble('rows', null);
      this.changed(this.pages.indexOf(page));
    } catch (problem) {
      if (turn === this.turn) this.wait(problem);
    } finally {
      page.asking = false;
    }
  }

  /** Keeps the rows near those in view. @param {number} near number of a page */
  forget(near) {
    if (this.pages.length <= PAGES_KEPT) return;
    this.pages.forEach((page, index) => {
      if (Math.abs(index - near) > PAGES_KEPT / 2 && !page.pinned && index > 0) page.lines = null;
    });
  }

  /** Users share a name who did not: rows that are shown say who is who. */
  rename() {
    this.rows.renew();
    this.render();
  }
  /** @param {Line} shown */
  toggle(shown) {
    const number = this.pages.findIndex((page) => page.lines?.includes(shown));
    const page = this.pages[number];
    if (!page?.lines) return;
    const place = page.lines.indexOf(shown) + 1;
    shown.open = !shown.open;
    set(this.rows.of(shown), 'aria-expanded', String(shown.open));
    if (shown.open) page.lines.splice(place, 0, { row: shown.row, inner: true, open: false, more: { cursor: null, from: shown } });
    else {
      let end = place;
      while (page.lines[end]?.inner) end += 1;
      page.lines.splice(place, end - place);
    }
    page.pinned = page.lines.some((one) => one.open);
    page.count = page.lines.length;
    this.changed(number);
  }

  /** The next rows of an open import take the place of the line that waited for them. @param {Page} page @param {Line} waiting */
  async fetchInner(page, waiting) {
    const { more, row } = waiting;
    if (!more) return;
    waiting.open = true; // asked once
    const parameters = this.with(more.cursor);
    parameters.delete('batches');
    parameters.set('batch', row.batch_id ?? '');
    parameters.set('activity', row.activity);
    const turn = this.turn;
    try {
      const answer = await this.ask('activities', parameters);
      const place = page.lines?.indexOf(waiting) ?? -1;
      if (!answer || turn !== this.turn || place < 0 || !page.lines) return;
      const lines = answer.body.activities.map((/** @type {Row} */ one) => ({ ...line(one), inner: true }));
      const rest = answer.body.next_cursor ? [{ ...waiting, open: false, more: { ...more, cursor: answer.body.next_cursor } }] : [];
      page.lines.splice(place, 1, ...lines, ...rest);
      page.count = page.lines.length;
      this.trouble('rows', null);
      this.changed(this.pages.indexOf(page));
    } catch (problem) {
      if (turn !== this.turn) return;
      waiting.open = false;
      this.rows.made.set(waiting, waitingRow(h('button', { type: 'button', click: () => this.askAgain() }, text.tryAgain)));
      this.wait(problem);
      this.render();
    }
  }
}

/** @param {string | null} cursor @returns {Page} */
const newPage = (cursor) => ({ cursor, count: 0, lines: [], parts: new Map(), pinned: false, asking: false });
