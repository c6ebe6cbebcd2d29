/** How does each component draw the API's answer? Cards, charts, users and the activity table, each given data and told nothing of addresses. */

import * as words from './words.js';

/** @typedef {import('./types.js').Report} Report */
/** @typedef {import('./types.js').ChartModel} ChartModel */
/** @typedef {import('./types.js').Span} Span */
/** @typedef {import('./types.js').Row} Row */
/** @typedef {import('./types.js').UserCounts} UserCounts */
/** @typedef {import('./types.js').Ask} Ask */

const { text } = words;
const SVG = 'http://www.w3.org/2000/svg';

/**
 * An element with attributes (null leaves one out, a function listens) and children.
 * @param {string} tag @param {Record<string, any>} [attributes] @param {...(Node | string | null)} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value != null && value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** @param {Element} element @param {string} name @param {string | number | null} value null removes it */
export function set(element, name, value) {
  if (value == null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/** @param {Element} element @param {string} content */
export function say(element, content) {
  if (element.textContent !== content) element.textContent = content;
}

/** @template {Element} [T=HTMLElement] @param {ParentNode} root @param {string} selector @returns {T} */
export const find = (root, selector) => /** @type {T} */ (/** @type {unknown} */ (root.querySelector(selector)));

/** Lets the browser paint and answer the hand before the next piece of a long drawing. */
const breathe = () => /** @type {any} */ (globalThis).scheduler?.yield?.() ?? new Promise((resolve) => setTimeout(resolve));

/** The component shows an answer. @param {HTMLElement} section */
export function recover(section) {
  set(section, 'data-state', 'ready');
  section.querySelector(':scope > .failure')?.remove();
}

/** The component alone shows that it failed, and offers another try. @param {HTMLElement} section @param {string} message @param {() => void} again @param {boolean} [waits] it comes by itself */
export function fail(section, message, again, waits = false) {
  section.dataset.state = 'error';
  section.querySelector(':scope > .failure')?.remove();
  section.append(h('div', { class: waits ? 'failure waits' : 'failure', role: 'alert' }, h('p', {}, message), h('button', { type: 'button', click: again }, text.tryAgain)));
}

// Cards

/** Closer together than this, a line is a smear. */
const SPARKLINE_POINTS = 60;

/** @param {HTMLElement} section @param {Report} report @param {'added' | 'deleted'} activity */
export function drawCard(section, report, activity) {
  const { count, previous, change_percent: percents } = report[activity];
  const { compare } = report.query;
  const body = find(section, '.body');
  if (!body.querySelector('.count')) {
    body.replaceChildren(h('p', { class: 'figure' }, h('span', { class: 'count' }), h('span', { class: 'change' })), h('p', { class: 'earlier' }), sparkline());
  }
  const figure = find(body, '.count');
  set(figure, 'data-value', count);
  set(figure, 'data-previous', previous);
  say(figure, words.number(count));
  section.classList.toggle('zero', count === 0);
  const change = find(body, '.change');
  set(change, 'data-change', percents ?? '');
  set(change, 'data-direction', Math.sign(count - (previous ?? count)));
  say(change, previous == null ? '' : percents != null ? (percents === 0 ? text.noChange : words.changed(percents)) : count > 0 ? text.fromZero : text.noChange);
  say(find(body, '.earlier'), compare && previous != null ? text.from(words.number(previous), words.earlierRange(compare)) : text.notCompared);
  drawSparkline(find(body, 'svg'), report.timeline, activity);
}

function sparkline() {
  const svg = document.createElementNS(SVG, 'svg');
  for (const [name, value] of Object.entries({ class: 'sparkline', viewBox: '0 0 100 100', preserveAspectRatio: 'none', 'aria-hidden': 'true' })) svg.setAttribute(name, value);
  svg.append(document.createElementNS(SVG, 'path'), document.createElementNS(SVG, 'path'));
  return svg;
}

/** One line for the shape, one area below it; no numbers, so no element a bucket. @param {Element} svg @param {Report['timeline']} timeline @param {'added' | 'deleted'} activity */
function drawSparkline(svg, timeline, activity) {
  const counts = timeline.filter((bucket) => bucket.state !== 'future').map((bucket) => bucket[activity] ?? 0);
  const together = Math.ceil(counts.length / SPARKLINE_POINTS);
  const values = Array.from({ length: Math.ceil(counts.length / together) }, (_, place) => counts.slice(place * together, (place + 1) * together).reduce((sum, value) => sum + value, 0));
  const most = Math.max(1, ...values);
  const step = 100 / Math.max(1, values.length - 1);
  const line = values.map((value, index) => `${(index * step).toFixed(2)},${(96 - (value / most) * 88).toFixed(2)}`).join('L');
  const [area, stroke] = svg.children;
  set(svg, 'data-start', timeline[0]?.start ?? null);
  set(area, 'd', values.length > 1 ? `M0,100L${line}L100,100Z` : '');
  set(stroke, 'd', values.length > 1 ? `M${line}` : '');
}

// Charts

const BARS_A_TASK = 500;
/** From so many bars on the earlier side is one line: a second bar a bucket would be thinner than a pixel. */
const DENSE = 400;

/** The step of a scale that ends at or above the greatest value, with few lines. @param {number} most */
function scaleStep(most) {
  const rough = Math.max(1, most / 3);
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough) ?? power * 10;
}

/** Bars over a time axis, alone or stacked, with a read-out for pointer and keyboard. */
export class Chart {
  /** @param {HTMLElement} section @param {string} title @param {(span: Span) => void} pick a bar was chosen */
  constructor(section, title, pick) {
    this.section = section;
    this.title = title;
    this.pick = pick;
    /** @type {ChartModel | null} */
    this.model = null;
    this.signature = '';
    this.turn = 0;
    this.index = -1;
    /** @type {(SVGElement | undefined)[]} */
    this.bars = [];
    /** @type {SVGElement[]} */
    this.ghosts = [];
  }

  build() {
    if (this.plot) return;
    this.svg = document.createElementNS(SVG, 'svg');
    set(this.svg, 'preserveAspectRatio', 'none');
    this.cursor = h('div', { class: 'cursor', hidden: true });
    this.tip = h('div', { class: 'tip', hidden: true });
    this.lines = h('div', { class: 'scale', 'aria-hidden': 'true' });
    this.axis = h('div', { class: 'axis', 'aria-hidden': 'true' });
    this.plot = h('div', {
      class: 'plot', role: 'slider', tabindex: 0, 'aria-label': this.title, 'aria-description': text.readOut, 'aria-valuemin': 0,
      pointermove: (/** @type {PointerEvent} */ event) => this.point(this.at(event)),
      pointerleave: () => this.point(-1),
      click: (/** @type {PointerEvent} */ event) => this.choose(this.at(event)),
      focus: () => this.plot?.matches(':focus-visible') && this.point(this.index < 0 ? this.last() : this.index),
      blur: () => this.point(-1),
      keydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
    }, this.cursor, this.svg, this.tip);
    const frame = h('div', { class: 'chart' }, this.lines, this.plot, this.axis);
    find(this.section, '.body').replaceChildren(frame);
    new ResizeObserver(() => this.model && this.ticks(this.model)).observe(this.plot);
  }

  /** Only what changed is touched, in pieces, so that the page neither flickers nor stalls. @param {ChartModel} model */
  async draw(model) {
    this.build();
    const { svg, plot } = this;
    if (!svg || !plot) return;
    const turn = ++this.turn;
    const { spans, series, earlier } = model;
    const count = spans.length;
    const dense = count > DENSE;
    const sums = spans.map((_, index) => series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0));
    const step = scaleStep(Math.max(...sums, ...(earlier ?? []).map((one) => one?.value ?? 0)));
    const top = Math.max(1, Math.ceil(Math.max(...sums, ...(earlier ?? []).map((one) => one?.value ?? 0)) / step)) * step;
    const signature = [model.interval, dense, ...series.map((one) => one.name), ...spans.map((span) => span.start)].join('\n');
    const fresh = signature !== this.signature;
    if (fresh) this.begin(count, dense, signature);
    const drawn = this.bars;
    const bars = find(svg, 'g.bars');
    const width = dense ? 1 : count > 60 ? 0.84 : earlier && !model.stacked ? 0.5 : 0.66;
    for (let index = 0; index < count; index += 1) {
      let below = 0;
      for (let number = 0; number < series.length; number += 1) {
        const place = index * series.length + number;
        const value = series[number].values[index];
        const height = ((value ?? 0) / top) * 100;
        below += height;
        let bar = drawn[place];
        if (model.stacked && !value) {
          bar?.remove();
          drawn[place] = undefined;
          continue;
        }
        if (!bar) {
          bar = document.createElementNS(SVG, 'rect');
          set(bar, 'class', series[number].colour);
          set(bar, 'data-start', spans[index].start);
          if (model.stacked) set(bar, 'data-source', series[number].name);
          bars.append(bar);
          drawn[place] = bar;
        }
        set(bar, 'x', +(index + (1 - width) / 2).toFixed(4));
        set(bar, 'width', width);
        set(bar, 'y', +(100 - below).toFixed(4));
        set(bar, 'height', +height.toFixed(4));
        set(bar, 'data-value', value ?? '');
        set(bar, 'data-bucket-state', spans[index].state);
        if ((place + 1) % BARS_A_TASK === 0) {
          await breathe();
          if (turn !== this.turn) return;
        }
      }
    }
    this.model = model;
    this.drawEarlier(model, top, dense);
    this.keys(model);
    set(plot, 'data-none', sums.some(Boolean) ? null : model.none);
    this.scale(step, top);
    this.ticks(model);
    set(plot, 'aria-valuemax', count - 1);
    this.point(this.index, true);
  }

  /** Other buckets or other series: all bars are new. They come into the page piece by piece. @param {number} count @param {boolean} dense @param {string} signature */
  begin(count, dense, signature) {
    const groups = ['ghosts', 'bars'].map((name) => {
      const group = document.createElementNS(SVG, 'g');
      set(group, 'class', name);
      return group;
    });
    set(/** @type {Element} */ (this.svg), 'viewBox', `0 0 ${count} 100`);
    this.svg?.replaceChildren(...groups);
    this.plot?.classList.toggle('dense', dense);
    this.bars = [];
    this.ghosts = [];
    this.index = -1;
    this.signature = signature;
  }

  /** @param {ChartModel} model @param {number} top @param {boolean} dense */
  drawEarlier({ earlier, stacked }, top, dense) {
    const group = find(/** @type {SVGElement} */ (this.svg), 'g.ghosts');
    if (!earlier) return group.replaceChildren();
    if (dense || stacked) {
      const path = group.querySelector('path') ?? group.appendChild(document.createElementNS(SVG, 'path'));
      const points = earlier.map((one, index) => (one?.value == null ? '' : `M${index},${100 - (one.value / top) * 100}h1`));
      return set(path, 'd', points.join(''));
    }
    earlier.forEach((one, index) => {
      if (one?.value == null) return;
      const ghost = (this.ghosts[index] ??= group.appendChild(document.createElementNS(SVG, 'rect')));
      if (!ghost.isConnected) group.append(ghost);
      const height = (one.value / top) * 100;
      set(ghost, 'x', index + 0.1);
      set(ghost, 'width', 0.8);
      set(ghost, 'y', 100 - height);
      set(ghost, 'height', height);
      set(ghost, 'data-previous', one.value);
      set(ghost, 'data-start', one.start);
    });
  }

  /** What the marks mean that are not plain bars, where there are some. @param {ChartModel} model */
  keys({ earlier, spans, series, interval }) {
    const before = earlier?.filter((one) => one?.value != null) ?? [];
    const [first, last] = [before[0], before.at(-1)];
    const keys = first && last ? [['ghost', words.dateRange(first.start.slice(0, 10), words.datesOf(last, interval).to)]] : [];
    for (const state of ['open', 'settling']) if (spans.some((span) => span.state === state)) keys.push([`${series.length === 1 ? series[0].colour : 's0'} ${state}`, words.bucketKeys[state]]);
    const drawn = JSON.stringify(keys);
    let list = this.section.querySelector('.keys');
    if (!list) {
      list = h('ul', { class: 'keys', 'aria-hidden': 'true' });
      find(this.section, 'h2').after(list);
    }
    if (list.getAttribute('data-drawn') === drawn) return;
    set(list, 'data-drawn', drawn);
    list.replaceChildren(...keys.map(([look, label]) => h('li', {}, h('i', { class: `swatch ${look}` }), label)));
  }

  /** @param {number} step @param {number} top */
  scale(step, top) {
    const key = `${step}/${top}`;
    if (!this.lines || this.lines.dataset.key === key) return;
    this.lines.dataset.key = key;
    this.lines.replaceChildren();
    for (let value = 0; value <= top; value += step) {
      const line = h('span', {}, words.shortNumber(value));
      line.style.bottom = `${(value / top) * 100}%`;
      this.lines.append(line);
    }
  }

  /** As many dates below the bars as there is room for; hours begin at midnight. @param {ChartModel} model */
  ticks({ spans, interval }) {
    const width = this.plot?.clientWidth ?? 0;
    const count = spans.length;
    const room = Math.max(2, Math.floor(width / 76));
    const steps = interval === 'hour' ? [1, 2, 3, 4, 6, 12, 24, 48, 72, 168, 336] : interval === 'month' ? [1, 2, 3, 6, 12, 24] : [1, 2, 3, 4, 5, 7, 10, 14, 21, 28, 56, 91, 182, 365];
    const step = steps.find((one) => count / one <= room) ?? Math.ceil(count / room);
    const key = [step, interval, spans[0]?.start, count].join();
    if (!this.axis || this.axis.dataset.key === key) return;
    this.axis.dataset.key = key;
    const years = spans[0]?.start.slice(0, 4) !== spans.at(-1)?.start.slice(0, 4) && interval !== 'hour';
    const marks = [];
    for (let index = 0; index < count; index += 1) {
      const clock = spans[index].start.slice(11, 16);
      const shown = interval !== 'hour' ? index % step === 0 : step < 24 ? clock.endsWith(':00') && Number(clock.slice(0, 2)) % step === 0 : clock === '00:00' && Math.round(index / 24) % (step / 24) === 0;
      if (!shown) continue;
      const mark = h('span', {}, words.tick(spans[index].start, interval, years));
      mark.style.insetInlineStart = `${((index + (interval === 'hour' ? 0 : 0.5)) / count) * 100}%`;
      marks.push(mark);
    }
    this.axis.replaceChildren(...marks);
  }

  /** @param {MouseEvent} event */
  at(event) {
    if (!this.plot || !this.model) return -1;
    const box = this.plot.getBoundingClientRect();
    const index = Math.floor(((event.clientX - box.left) / box.width) * this.model.spans.length);
    return Math.min(Math.max(index, 0), this.model.spans.length - 1);
  }

  last() {
    return (this.model?.spans.findLastIndex((span) => span.state !== 'future') ?? -1);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const count = this.model?.spans.length ?? 0;
    const from = this.index < 0 ? this.last() : this.index;
    const leap = Math.max(1, Math.round(count / 10));
    /** @type {Record<string, number>} */
    const moves = { ArrowLeft: from - 1, ArrowDown: from - 1, ArrowRight: from + 1, ArrowUp: from + 1, Home: 0, End: count - 1, PageUp: from - leap, PageDown: from + leap };
    if (event.key in moves) this.point(Math.min(Math.max(moves[event.key], 0), count - 1));
    else if (event.key === 'Enter' || event.key === ' ') this.choose(from);
    else if (event.key === 'Escape') this.point(-1);
    else return;
    event.preventDefault();
  }

  /** @param {number} index */
  choose(index) {
    const span = this.model?.spans[index];
    if (span) this.pick(span);
  }

  /** Shows the read-out of a bar, or hides it. @param {number} index @param {boolean} [again] the numbers may have moved under it */
  point(index, again = false) {
    const { model, plot, cursor, tip } = this;
    if (!model || !plot || !cursor || !tip || (index === this.index && !again)) return;
    this.index = index;
    for (const mark of [cursor, tip]) set(mark, 'hidden', index < 0 ? '' : null);
    const shown = index < 0 ? this.last() : index;
    const span = model.spans[shown];
    if (!span) return;
    const heading = words.bucket(span, model.interval, words.clocksChange(model.spans));
    const sum = model.series.reduce((total, one) => total + (one.values[shown] ?? 0), 0);
    const whole = model.series.reduce((total, one) => total + one.values.reduce((/** @type {number} */ all, value) => all + (value ?? 0), 0), 0);
    const future = span.state === 'future';
    const rows = model.stacked ? model.series.map((one) => /** @type {const} */ ([one.colour, one.label, one.values[shown] ?? 0])).filter(([, , value]) => value > 0).reverse() : [];
    /** @type {[string, string, string][]} */
    const shares = rows.map(([colour, label, value]) => [colour, label, text.share(words.number(value), words.percent(value, sum))]);
    const total = future ? text.nothing : model.stacked ? words.number(sum) : text.share(words.number(sum), words.percent(sum, whole));
    const earlier = model.earlier?.[shown];
    const before = earlier?.value == null ? null : `${words.number(earlier.value)} · ${words.bucket(earlier, model.interval)}`;
    const note = words.bucketStates[span.state];
    set(plot, 'aria-valuenow', shown);
    set(plot, 'aria-valuetext', [heading, `${model.stacked ? text.total : model.series[0]?.label ?? ''} ${total}`, ...shares.map(([, label, value]) => `${label} ${value}`), before && `${text.earlier} ${before}`, note].filter(Boolean).join('; '));
    if (index < 0) return;
    tip.replaceChildren(...[
      h('b', {}, heading),
      h('dl', {}, ...[['', model.stacked ? text.total : model.series[0]?.label ?? '', total], ...shares, ...(before ? [['ghost', text.earlier, before]] : [])].flatMap(([colour, label, value]) => [
        h('dt', {}, h('i', { class: `swatch ${colour || (model.stacked ? 'blank' : model.series[0]?.colour)}` }), label), h('dd', {}, value)])),
      note ? h('p', { class: 'note' }, note) : '',
    ]);
    const count = model.spans.length;
    cursor.style.left = `${(index / count) * 100}%`;
    cursor.style.width = `${100 / count}%`;
    const middle = ((index + 0.5) / count) * plot.clientWidth;
    const wide = tip.offsetWidth;
    tip.style.left = `${Math.max(-8, Math.min(middle > plot.clientWidth / 2 ? middle - wide - 14 : middle + 14, plot.clientWidth - wide + 8))}px`;
  }
}

// Users

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
  }

  /** @param {Report['users']} users @param {number} omitted how many more there are */
  draw(users, omitted) {
    this.users = users;
    this.omitted = omitted;
    if ((this.all || this.by === 'deleted') && omitted > 0) void this.complete();
    else this.show();
  }

  async complete() {
    const asked = this.users;
    try {
      const users = await this.everyone();
      if (this.users !== asked) return;
      this.users = users;
      this.omitted = 0;
    } catch {
      // The first 500 stay; what is missing is still said in the count below.
    }
    this.show();
  }

  show() {
    const body = find(this.section, '.body');
    const users = this.by === 'added' ? this.users : this.users.toSorted((a, b) => b.deleted - a.deleted || b.added - a.added);
    const shown = this.all ? users : users.slice(0, USERS_AT_FIRST);
    const drawn = JSON.stringify([shown, this.by, this.omitted, this.users.length]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    if (!users.length) return body.replaceChildren(h('p', { class: 'quiet' }, text.noUsers));
    const focused = body.contains(document.activeElement) ? document.activeElement?.getAttribute('data-key') : null;
    const most = { added: Math.max(1, ...users.map((user) => user.added)), deleted: Math.max(1, ...users.map((user) => user.deleted)) };
    const table = h('table', { class: 'users' },
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, words.labels.user), ...(/** @type {const} */ (['added', 'deleted'])).map((kind) =>
        h('th', { scope: 'col', 'aria-sort': this.by === kind ? 'descending' : null }, h('button', { type: 'button', 'data-key': kind, click: () => this.sort(kind) }, words.activities[kind]))))),
      h('tbody', {}, ...shown.map((user) => {
        const id = user.user_id ?? 'none';
        const name = user.user_name ?? user.user_id ?? text.noUser;
        return h('tr', {},
          h('th', { scope: 'row' }, h('button', { type: 'button', class: 'link', 'data-key': `u ${id}`, title: text.onlyUser(name), click: () => this.only(id) }, name)),
          ...(/** @type {const} */ (['added', 'deleted'])).map((kind) => {
            const bar = h('i', { class: `bar ${kind}` });
            bar.style.width = `${(user[kind] / most[kind]) * 100}%`;
            return h('td', { 'data-user': id, 'data-activity': kind, 'data-value': user[kind] }, bar, h('span', {}, words.number(user[kind])));
          }));
      })));
    const all = users.length + this.omitted;
    const more = all > USERS_AT_FIRST ? h('p', { class: 'rest' }, h('span', {}, text.showingUsers(shown.length, all)),
      h('button', { type: 'button', 'data-key': 'more', click: () => this.toggle() }, this.all ? text.showFewer : text.showAll)) : null;
    body.replaceChildren(h('div', { class: 'scroll', tabindex: this.all ? 0 : null, role: this.all ? 'region' : null, 'aria-label': this.all ? words.labels.byUser : null }, table), ...(more ? [more] : []));
    if (focused) /** @type {HTMLElement | null} */ (body.querySelector(`[data-key="${CSS.escape(focused)}"]`))?.focus();
  }

  /** @param {'added' | 'deleted'} kind */
  sort(kind) {
    this.by = kind;
    this.draw(this.users, this.omitted);
  }

  toggle() {
    this.all = !this.all;
    this.draw(this.users, this.omitted);
  }
}

// The activity table

const PAGE_ROWS = 100;
/** Pages whose rows stay in memory; those far from what is seen are asked for again by their cursors. */
const PAGES_KEPT = 40;
const SPARE_ROWS = 12;
/** While the pointer moved over the table so lately, new rows wait, so that nothing moves under the hand. */
const HAND_MS = 1500;

/**
 * A row as shown: an activity, an import of many, or one of its activities below it.
 * @typedef {{ row: Row, inner: boolean, open: boolean, more: { cursor: string | null, from: Line } | null }} Line
 * @typedef {{ cursor: string | null, count: number, lines: Line[] | null, pinned: boolean, asking: boolean }} Page
 */

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
    this.label = label;
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
    this.turn = 0;
    this.handAt = -HAND_MS;
    /** @type {WeakMap<Line, HTMLElement>} */
    this.rows = new WeakMap();
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
      class: 'rows', tabindex: 0, role: 'region', 'aria-label': words.labels.activities, scroll: () => this.render(),
      pointermove: () => { this.handAt = performance.now(); },
      pointerleave: () => { this.handAt = -HAND_MS; },
    }, this.table, this.foot);
    this.news = h('p', { role: 'status' });
    this.newsButton = h('button', { type: 'button', click: () => this.toNewest() }, text.showNew);
    this.newsBar = h('div', { class: 'news' }, this.news, this.newsButton);
    this.newsButton.hidden = true;
    this.kept = h('p', { class: 'note', hidden: true });
    find(this.section, '.body').replaceChildren(this.kept, this.newsBar, this.scroller);
    new ResizeObserver(() => this.render()).observe(this.scroller);
  }

  /** Another question: the table begins anew. @param {URLSearchParams} parameters */
  async open(parameters) {
    this.parameters = parameters;
    this.etag = null;
    await this.first();
  }

  /** The report moved: the newest rows come in, or are announced where they would move what is being read. */
  async refresh() {
    if (!this.body || this.section.dataset.state === 'error') return this.first();
    if (this.asking) return;
    this.asking = true;
    const turn = this.turn;
    try {
      const answer = await this.ask('activities', this.with(null), { etag: this.etag });
      if (!answer || turn !== this.turn) return;
      this.etag = answer.etag;
      if (this.ascending()) this.grow(answer.body);
      else if (this.held()) this.announce(answer.body.total);
      else this.fill(answer.body);
    } catch {
      // The table stays as it is; freshness says that the line is down, and the next answer comes here again.
    } finally {
      this.asking = false;
    }
  }

  async first() {
    const turn = ++this.turn;
    const answer = await this.ask('activities', this.with(null));
    if (!answer || turn !== this.turn) return;
    this.build();
    this.etag = answer.etag;
    if (this.scroller) this.scroller.scrollTop = 0;
    this.fill(answer.body);
    recover(this.section);
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
    return (this.scroller?.scrollTop ?? 0) > 4 || performance.now() - this.handAt < HAND_MS || this.pages.some((page) => page.pinned)
      || Boolean(selection && !selection.isCollapsed && this.body?.contains(selection.anchorNode));
  }

  /** @param {import('./types.js').Activities} answer the first page */
  fill(answer) {
    const known = new Map(this.pages[0]?.lines?.map((line) => [JSON.stringify(line.row), line]) ?? []);
    const lines = answer.activities.map((row) => known.get(JSON.stringify(row)) ?? line(row));
    this.pages = [{ cursor: null, count: lines.length, lines, pinned: false, asking: false }];
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
  grow(answer) {
    this.shownTotal = answer.total ?? 0;
    this.announce(answer.total);
    if (!this.next) this.fill(answer);
  }

  /** @param {number | null} total null where one import alone is listed */
  announce(total) {
    const count = Math.max(0, (total ?? 0) - this.shownTotal);
    const shown = find(this.section, '.total');
    set(shown, 'data-value', total ?? '');
    say(shown, total == null ? '' : text.activities(total));
    if (!this.news || !this.newsBar || !this.newsButton) return;
    this.newsBar.classList.toggle('some', count > 0);
    this.newsButton.hidden = count === 0;
    say(this.news, count > 0 ? text.newRows(count) : '');
  }

  async toNewest() {
    this.scroller?.scrollTo({ top: 0 });
    this.scroller?.focus({ preventScroll: true });
    await this.first();
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
    const tall = parseFloat(getComputedStyle(scroller).getPropertyValue('--row')) || 36;
    const count = this.starts[this.pages.length] ?? 0;
    const first = Math.max(0, Math.floor(scroller.scrollTop / tall) - SPARE_ROWS);
    const last = Math.min(count, Math.ceil((scroller.scrollTop + scroller.clientHeight) / tall) + SPARE_ROWS);
    const wanted = [];
    for (let index = first; index < last; index += 1) {
      const number = this.pageOf(index);
      const page = this.pages[number];
      const shown = page.lines?.[index - this.starts[number]];
      if (!page.lines) void this.fetchPage(page);
      if (shown?.more && !shown.open) void this.fetchInner(page, shown);
      const element = shown ? this.element(shown) : h('tr', { role: 'row', class: 'waiting' }, h('td', { role: 'gridcell' }, text.loading));
      set(element, 'aria-rowindex', index + 2);
      wanted.push(element);
    }
    body.style.paddingBlockStart = `${first * tall}px`;
    body.style.height = `${count * tall}px`;
    place(body, wanted);
    set(table, 'aria-rowcount', this.next ? -1 : count + 1);
    say(foot, this.next ? text.loading : count ? (this.ascending() ? text.allRowsAscending : text.allRows) : text.noRows);
    set(/** @type {Element} */ (this.order?.closest('th')), 'aria-sort', this.ascending() ? 'ascending' : 'descending');
    if (this.next && scroller.scrollTop + scroller.clientHeight * 2.5 > count * tall) void this.more();
    this.forget(this.pageOf(first));
  }

  async more() {
    if (this.asking || !this.next) return;
    this.asking = true;
    const turn = this.turn;
    const cursor = this.next;
    try {
      const answer = await this.ask('activities', this.with(cursor));
      if (!answer || turn !== this.turn || cursor !== this.next) return;
      const page = { cursor, count: 0, lines: this.joined(answer.body.activities), pinned: false, asking: false };
      page.count = page.lines.length;
      this.pages.push(page);
      this.next = answer.body.next_cursor;
      this.asking = false;
      this.changed(this.pages.length - 1);
    } catch (problem) {
      if (this.foot) this.foot.replaceChildren(`${text.failed(words.labels.activities)} `, h('button', { type: 'button', click: () => this.more() }, text.tryAgain));
    } finally {
      this.asking = false;
    }
  }

  /** A page may go on with an import that the one before began: it stays one line. @param {Row[]} rows */
  joined(rows) {
    const lines = rows.map(line);
    const before = this.pages.at(-1)?.lines;
    for (const before_line of before ?? []) {
      const again = lines.findIndex(({ row }) => row.rows != null && before_line.row.rows != null && row.batch_id === before_line.row.batch_id && row.activity === before_line.row.activity);
      if (again < 0) continue;
      const [{ row }] = lines.splice(again, 1);
      before_line.row = { ...before_line.row, rows: (before_line.row.rows ?? 0) + (row.rows ?? 0), first: row.first };
      this.rows.delete(before_line);
    }
    return lines;
  }

  /** Rows that were let go come back by their page's cursor. @param {Page} page */
  async fetchPage(page) {
    if (page.asking) return;
    page.asking = true;
    const turn = this.turn;
    try {
      const answer = await this.ask('activities', this.with(page.cursor));
      if (!answer || turn !== this.turn) return;
      page.lines = answer.body.activities.map(line);
      page.count = answer.body.activities.length;
      this.changed(this.pages.indexOf(page));
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

  /** @param {Line} shown */
  element(shown) {
    const known = this.rows.get(shown);
    if (known) return known;
    const made = shown.more ? h('tr', { role: 'row', class: 'waiting' }, h('td', { role: 'gridcell' }, text.loading)) : shown.row.rows != null ? this.importRow(shown) : this.activityRow(shown);
    this.rows.set(shown, made);
    return made;
  }

  /** @param {Line} shown */
  activityRow({ row, inner }) {
    return h('tr', { role: 'row', class: inner ? 'inner' : null, 'aria-level': inner ? 2 : 1, 'data-event-id': row.event_id }, ...this.cells(row, h('time', { datetime: row.occurred_at }, words.moment(row.occurred_at)), row.contact_id ?? '', row.contact_name ?? ''));
  }

  /** @param {Line} shown */
  importRow(shown) {
    const { row } = shown;
    const newest = row.occurred_at ?? row.last ?? '';
    const element = h('tr', {
      role: 'row', class: 'import', tabindex: 0, 'aria-level': 1, 'data-batch-id': row.batch_id, 'data-value': row.rows, 'aria-expanded': String(shown.open),
      click: () => this.toggle(shown),
      keydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key === 'Enter' || event.key === ' ' || event.key === (shown.open ? 'ArrowLeft' : 'ArrowRight')) {
          event.preventDefault();
          this.toggle(shown);
        }
      },
    }, ...this.cells(row, h('time', { datetime: newest }, words.moment(newest)), h('span', { class: 'batch', title: text.batch(row.batch_id ?? '') }, row.batch_id ?? ''), h('b', {}, text.imported(row.rows ?? 0, words.activities[row.activity].toLowerCase()))));
    return element;
  }

  /** @param {Row} row @param {HTMLElement} time @param {Node | string} id @param {Node | string} name */
  cells(row, time, id, name) {
    const none = row.rows != null ? '' : text.nothing;
    const user = row.user_name ?? row.user_id ?? none;
    return [time, id, name, h('span', { class: `activity ${row.activity}` }, words.activities[row.activity]), row.source ? this.label(row.source) : none, user]
      .map((content) => h('td', { role: 'gridcell', title: typeof content === 'string' && content.length > 18 ? content : null }, content));
  }

  /** @param {Line} shown */
  toggle(shown) {
    const number = this.pages.findIndex((page) => page.lines?.includes(shown));
    const page = this.pages[number];
    if (!page?.lines) return;
    const place = page.lines.indexOf(shown) + 1;
    shown.open = !shown.open;
    set(this.element(shown), 'aria-expanded', String(shown.open));
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
      this.changed(this.pages.indexOf(page));
    } catch {
      const again = h('button', { type: 'button', click: () => { waiting.open = false; this.rows.delete(waiting); this.render(); } }, text.tryAgain);
      this.rows.set(waiting, h('tr', { role: 'row', class: 'waiting' }, h('td', { role: 'gridcell' }, again)));
      this.render();
    }
  }
}

/** @param {Row} row @returns {Line} */
const line = (row) => ({ row, inner: false, open: false, more: null });

/** Gives the parent exactly these children, moving only what has to move. @param {HTMLElement} parent @param {HTMLElement[]} children */
function place(parent, children) {
  const kept = new Set(children);
  for (const child of [...parent.children]) if (!kept.has(/** @type {HTMLElement} */ (child))) child.remove();
  let at = parent.firstElementChild;
  for (const child of children) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
}
