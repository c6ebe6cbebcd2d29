/** Lists who added and deleted contacts. */

import { find, h } from './elements.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./types.js').Report} Report */
/** @typedef {import('./types.js').UserCounts} UserCounts */

/** A user's name, and the id where another is called the same. @param {words.Named} user */
export function who(user) {
  const [name, id] = words.userNames(user);
  return [h('bdi', {}, name), ...(id ? [' ', h('small', { dir: 'auto' }, id)] : [])];
}

const USERS_AT_FIRST = 8;

/** Who added and deleted, as a table that sorts by either. */
export class UserList {
  /** @param {HTMLElement} section @param {(user: string) => void} only @param {() => Promise<UserCounts[]>} everyone asks for all users, past the first 500 too */
  constructor(section, only, everyone) {
    this.section = section;
    this.only = only;
    this.everyone = everyone;
    this.by = /** @type {'added' | 'deleted'} */ ('added');
    this.all = false;
    /** @type {UserCounts[]} */
    this.users = [];
    this.omitted = 0;
    this.drawn = '';
    this.turn = 0;
    /** Everyone is shown, past the first 500. */
    this.whole = false;
    this.first = { users: this.users, omitted: 0 };
    this.asking = false;
    this.again = false;
  }

  /** Another question: nobody of the one before is of use. */
  begin() {
    this.turn += 1;
    this.whole = false;
  }

  clear() {
    Object.assign(this, { users: [], omitted: 0, drawn: '' });
    find(this.section, '.body').replaceChildren();
  }

  /** @param {Report['users']} users @param {number} omitted how many more there are */
  draw(users, omitted) {
    const partly = (this.all || this.by === 'deleted') && omitted > 0;
    this.first = { users, omitted };
    if (!partly || !this.whole) this.back();
    if (partly) void this.complete();
  }

  /** The first 500; what is missing is said in the count below. */
  back() {
    Object.assign(this, this.first, { whole: false });
    this.show();
  }

  /** One request at a time, whose answer is shown however often the numbers move meanwhile. */
  async complete() {
    this.again = this.asking;
    if (this.asking) return;
    this.asking = true;
    const { turn } = this;
    const users = await this.everyone().catch(() => null);
    this.asking = false;
    if (turn === this.turn && users) {
      words.meetUsers(users);
      Object.assign(this, { users, omitted: 0, whole: true });
      this.show();
    } else if (turn === this.turn && this.whole) this.back();
    if (this.again) void this.complete();
  }

  show() {
    const body = find(this.section, '.body');
    // Those of no user come last, as in the API's own order: the question is who.
    const users = this.by === 'added' ? this.users : this.users.toSorted((a, b) => Number(a.user_id == null) - Number(b.user_id == null) || b.deleted - a.deleted || b.added - a.added);
    const shown = this.all ? users : users.slice(0, USERS_AT_FIRST);
    const drawn = JSON.stringify([shown, shown.map(words.userName), this.by, this.omitted, this.users.length]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    if (!users.length) return body.replaceChildren(h('p', { class: 'quiet' }, text.noUsers));
    const focused = body.contains(document.activeElement) ? document.activeElement?.getAttribute('data-key') : null;
    const top = body.querySelector('.scroll')?.scrollTop ?? 0;
    const most = { added: Math.max(1, ...users.map((user) => user.added)), deleted: Math.max(1, ...users.map((user) => user.deleted)) };
    const table = h('table', { class: 'users' },
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, words.labels.user), ...(/** @type {const} */ (['added', 'deleted'])).map((kind) =>
        h('th', { scope: 'col', 'aria-sort': this.by === kind ? 'descending' : null }, h('button', { type: 'button', 'data-key': kind, click: () => this.sort(kind) }, words.activities[kind]))))),
      h('tbody', {}, ...shown.map((user) => {
        const id = user.user_id ?? 'none';
        return h('tr', {},
          h('th', { scope: 'row' }, h('button', { type: 'button', class: 'link', 'data-key': `u ${id}`, title: text.onlyUser(words.userName(user)), click: () => this.only(id) }, ...who(user))),
          ...(/** @type {const} */ (['added', 'deleted'])).map((kind) => {
            const bar = h('i', { class: `bar ${kind}` });
            bar.style.width = `calc(${user[kind] / most[kind]} * (100% - 12px))`;
            return h('td', { 'data-user': id, 'data-activity': kind, 'data-value': user[kind] }, bar, h('span', {}, words.number(user[kind])));
          }));
      })));
    const all = users.length + this.omitted;
    const more = all > USERS_AT_FIRST ? h('p', { class: 'rest' }, h('span', {}, text.showingUsers(shown.length, all)),
      h('button', { type: 'button', 'data-key': 'more', click: () => this.toggle() }, this.all ? text.showFewer : text.showAll)) : null;
    body.replaceChildren(h('div', { class: 'scroll', tabindex: this.all ? 0 : null, role: this.all ? 'region' : null, 'aria-label': this.all ? words.labels.byUser : null }, table), ...(more ? [more] : []));
    if (top) find(body, '.scroll').scrollTop = top;
    if (focused) /** @type {HTMLElement | null} */ (body.querySelector(`[data-key="${CSS.escape(focused)}"]`))?.focus();
  }

  /** @param {'added' | 'deleted'} kind */
  sort(kind) {
    this.by = kind;
    this.redraw();
  }

  toggle() {
    this.all = !this.all;
    this.redraw();
  }

  redraw() {
    this.show();
    if (this.incomplete) void this.complete();
  }

  /** What is shown needs those past the first 500. */
  get incomplete() {
    return (this.all || this.by === 'deleted') && this.omitted > 0;
  }
}
