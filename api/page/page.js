/**
 * What does the page show, and how is it kept current? In order: elements; the components, each given data and told nothing of
 * addresses (cards, charts, users, the activity table); then the address, asking the API, a visit, drawing a report, freshness, the
 * live line, the controls, and what shows in place of a report. One module, because each one more is a request more before the first
 * number; choosers, guides and exports are loaded when first needed.
 */

import { Parts, Patience, persist, readEvents, readText, retryDelay, Seat, toldToRetry } from './line.js';
import * as words from './words.js';

/** @typedef {import('./types.js').Report} Report */
/** @typedef {import('./types.js').ChartModel} ChartModel */
/** @typedef {import('./types.js').Freshness} Freshness */
/** @typedef {import('./types.js').Span} Span */
/** @typedef {import('./types.js').Row} Row */
/** @typedef {import('./types.js').UserCounts} UserCounts */
/** @typedef {import('./types.js').Choices} Choices */
/** @typedef {import('./types.js').Ask} Ask */
/** @typedef {import('./types.js').ProblemBody} ProblemBody */

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

/** @param {Element} element @param {Record<string, string | number | null>} values */
function setAll(element, values) {
  for (const [name, value] of Object.entries(values)) set(element, name, value);
}

/** An element of a drawing. @param {string} tag @param {Record<string, string | number | null>} [attributes] */
function drawing(tag, attributes = {}) {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  setAll(element, attributes);
  return element;
}

/** @param {Element} element @param {string} content */
export function say(element, content) {
  if (element.textContent !== content) element.textContent = content;
}

/** @template {Element} [T=HTMLElement] @param {ParentNode} root @param {string} selector @returns {T} */
export const find = (root, selector) => /** @type {T} */ (/** @type {unknown} */ (root.querySelector(selector)));

/** Lets the browser paint and answer the hand before the next piece of a long drawing. */
const breathe = () => /** @type {any} */ (globalThis).scheduler?.yield?.() ?? new Promise((resolve) => setTimeout(resolve));

/** Lets the browser paint what there is, so that no frame lays out a whole long drawing. Out of sight nothing is painted. */
const painted = () => (document.hidden ? breathe() : new Promise((resolve) => {
  requestAnimationFrame(() => setTimeout(resolve));
  setTimeout(resolve, 100);
}));

/** The component shows an answer. @param {HTMLElement} section */
export function recover(section) {
  set(section, 'data-state', 'ready');
  section.removeAttribute('data-kept');
  section.querySelector(':scope > .failure')?.remove();
}

/** @type {WeakMap<HTMLElement, () => void>} */
const tryAgain = new WeakMap();

/**
 * The component alone shows that it failed, and offers another try. What it says already is not read aloud once more.
 * @param {HTMLElement} section @param {string} message @param {() => void} again @param {boolean} [waits] the counts are on their way @param {boolean} [kept] what it shows answers the same question, and stays
 */
export function fail(section, message, again, waits = false, kept = false) {
  section.dataset.state = 'error';
  set(section, 'data-kept', kept ? '' : null);
  tryAgain.set(section, again);
  const told = section.querySelector(':scope > .failure');
  if (told?.firstChild?.textContent === message) return;
  told?.remove();
  section.append(h('div', { class: waits ? 'failure waits' : 'failure', role: 'alert' }, h('p', {}, message), h('button', { type: 'button', click: () => tryAgain.get(section)?.() }, text.tryAgain)));
}

// Cards

/** Closer together than this, a line is a smear. */
const SPARKLINE_POINTS = 60;

/** @param {HTMLElement} section @param {Report} report @param {'added' | 'deleted'} activity */
export function drawCard(section, report, activity) {
  const { count, previous, change_percent: percents } = report[activity];
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
  say(change, previous == null ? '' : count === previous ? text.noChange : percents != null ? words.changed(percents, count - previous) : text.fromZero);
  say(find(body, '.earlier'), report.query.compare && previous != null ? text.from(words.number(previous), words.earlierRange(report.query)) : text.notCompared);
  drawSparkline(find(body, 'svg'), report.timeline, activity);
}

function sparkline() {
  const svg = drawing('svg', { class: 'sparkline', viewBox: '0 0 100 100', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  svg.append(drawing('path'), drawing('path'));
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

const BARS_A_TASK = 250;
/** From so many bars on they touch, and the earlier side is one line: a second bar a bucket would be thinner than a pixel. */
const DENSE = 180;

/** The step of a scale that ends at or above the greatest value, with few lines. @param {number} most */
function scaleStep(most) {
  const rough = Math.max(1, most / 3);
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough) ?? power * 10;
}

/** Bars over a time axis, alone or stacked, with a read-out for pointer and keyboard. */
export class Chart {
  /** @param {HTMLElement} section @param {string} title @param {(span: Span, interval: string) => void} pick a bar was chosen */
  constructor(section, title, pick) {
    this.section = section;
    this.title = title;
    this.pick = pick;
    /** @type {ChartModel | null} */
    this.model = null;
    this.signature = '';
    this.turn = 0;
    this.index = -1;
    this.width = 0;
    /** @type {(SVGElement | undefined)[]} */
    this.bars = [];
    /** What each bar looks like, so that one that stays the same costs nothing. @type {string[]} */
    this.looks = [];
    /** @type {SVGElement[]} */
    this.ghosts = [];
    /** Told when it was drawn: the table in its place. @type {(() => void) | null} */
    this.after = null;
  }

  build() {
    if (this.plot) return;
    this.svg = drawing('svg', { preserveAspectRatio: 'none' });
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
    // The observer tells the width when the browser has it anyway; asking for it would lay the page out at once.
    new ResizeObserver(([{ contentRect }]) => {
      this.width = contentRect.width;
      if (this.model) this.ticks(this.model);
    }).observe(this.plot);
  }

  /** Only what changed is touched, in pieces, so that the page neither flickers nor stalls. @param {ChartModel} model */
  async draw(model) {
    this.build();
    const { svg, plot } = this;
    if (!svg || !plot) return;
    const turn = ++this.turn;
    const { spans, series, earlier, stacked } = model;
    const count = spans.length;
    const dense = count > DENSE;
    const sums = spans.map((_, index) => series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0));
    const most = Math.max(...sums, ...(earlier ?? []).map((one) => one.value));
    const step = scaleStep(most);
    const top = Math.max(1, Math.ceil(most / step)) * step;
    const width = dense ? 1 : count > 60 ? 0.84 : model.compared ? 0.5 : 0.66;
    const signature = [model.interval, width, ...series.map((one) => one.name), ...spans.map((span) => span.start)].join('\n');
    if (signature !== this.signature) this.begin(count, dense, signature);
    const bars = find(svg, 'g.bars');
    let touched = 0;
    for (let index = 0; index < count; index += 1) {
      const { start, state } = spans[index];
      let below = 0;
      for (let number = 0; number < series.length; number += 1) {
        const place = index * series.length + number;
        const value = series[number].values[index];
        const height = ((value ?? 0) / top) * 100;
        below += height;
        const look = `${below} ${height} ${value} ${state}`;
        if (look === this.looks[place]) continue;
        this.looks[place] = look;
        if (stacked && !value) {
          this.bars[place]?.remove();
          this.bars[place] = undefined;
          continue;
        }
        const bar = (this.bars[place] ??= bars.appendChild(drawing('rect', {
          class: series[number].colour, 'data-start': start, 'data-source': stacked ? series[number].name : null, x: index + (1 - width) / 2, width,
        })));
        setAll(bar, { y: +(100 - below).toFixed(4), height: +height.toFixed(4), 'data-value': value ?? '', 'data-bucket-state': state });
        touched += 1;
        if (touched % BARS_A_TASK === 0) {
          await painted();
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
    this.after?.();
  }

  /** Other buckets or other series: all bars are new. They come into the page piece by piece. @param {number} count @param {boolean} dense @param {string} signature */
  begin(count, dense, signature) {
    set(/** @type {Element} */ (this.svg), 'viewBox', `0 0 ${count} 100`);
    this.svg?.replaceChildren(...['ghosts', 'bars'].map((name) => drawing('g', { class: name })));
    this.plot?.classList.toggle('dense', dense);
    [this.bars, this.looks, this.ghosts] = [[], [], []];
    this.index = -1;
    this.signature = signature;
  }

  /** Another question has no answer: nothing of the one before stays. */
  clear() {
    this.turn += 1;
    this.model = null;
    this.signature = '';
    this.svg?.replaceChildren();
  }

  /** @param {ChartModel} model @param {number} top @param {boolean} dense */
  drawEarlier({ earlier, stacked }, top, dense) {
    const group = find(/** @type {SVGElement} */ (this.svg), 'g.ghosts');
    if (!earlier) return group.replaceChildren();
    if (dense || stacked) {
      const path = group.querySelector('path') ?? group.appendChild(drawing('path'));
      const points = earlier.map((one, index) => `M${index},${100 - (one.value / top) * 100}h1`);
      return set(path, 'd', points.join(''));
    }
    earlier.forEach((one, index) => {
      const ghost = (this.ghosts[index] ??= drawing('rect', { x: index + 0.1, width: 0.8 }));
      if (!ghost.isConnected) group.append(ghost);
      const height = (one.value / top) * 100;
      setAll(ghost, { y: 100 - height, height, 'data-previous': one.value, 'data-start': one.start });
    });
  }

  /** What the marks mean that are not plain bars, where there are some. @param {ChartModel} model */
  keys({ compared, spans, series }) {
    const keys = compared ? [['ghost', compared]] : [];
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

  /** As many dates below the bars as there is room for; hours begin with their date, at midnight or later. @param {ChartModel} model */
  ticks({ spans, interval }) {
    const count = spans.length;
    const room = Math.max(2, Math.floor(this.width / 76));
    const steps = interval === 'hour' ? [1, 2, 3, 4, 6, 12, 24, 48, 72, 168, 336] : interval === 'month' ? [1, 2, 3, 6, 12, 24] : [1, 2, 3, 4, 5, 7, 10, 14, 21, 28, 56, 91, 182, 365];
    const step = steps.find((one) => count / one <= room) ?? Math.ceil(count / room);
    const key = [step, interval, spans[0]?.start, count].join();
    if (!this.axis || !this.width || this.axis.dataset.key === key) return;
    this.axis.dataset.key = key;
    const years = spans[0]?.start.slice(0, 4) !== spans.at(-1)?.start.slice(0, 4) && interval !== 'hour';
    const marks = [];
    let [day, last] = [-1, -step];
    for (let index = 0; index < count; index += 1) {
      const [date, clock] = [spans[index].start.slice(0, 10), spans[index].start.slice(11, 16)];
      const newDay = date !== spans[index - 1]?.start.slice(0, 10);
      if (newDay) day += 1;
      const shown = interval !== 'hour' ? index % step === 0 : newDay ? step < 24 || day % (step / 24) === 0
        : clock.endsWith(':00') && Number(clock.slice(0, 2)) % step === 0 && index - last > step / 2;
      if (!shown) continue;
      last = index;
      const mark = h('span', {}, words.tick(spans[index].start, interval, years, newDay));
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
    if (span) this.pick(span, this.model?.interval ?? 'day');
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
    const before = !earlier || earlier.start === earlier.end ? null : `${words.number(earlier.value)} · ${words.earlierBucket(earlier, model.interval, model.timezone)}`;
    const note = words.bucketStates[span.state];
    set(plot, 'aria-valuenow', shown);
    set(plot, 'aria-valuetext', [heading, `${model.stacked ? text.total : model.series[0]?.label ?? ''} ${total}`, ...shares.map(([, label, value]) => `${words.isolate(label)} ${value}`), before && `${text.earlier} ${before}`, note].filter(Boolean).join('; '));
    if (index < 0) return;
    tip.replaceChildren(...[
      h('b', {}, heading),
      h('dl', {}, ...[['', model.stacked ? text.total : model.series[0]?.label ?? '', total], ...shares, ...(before ? [['ghost', text.earlier, before]] : [])].flatMap(([colour, label, value]) => [
        h('dt', {}, h('i', { class: `swatch ${colour || (model.stacked ? 'blank' : model.series[0]?.colour)}` }), h('bdi', {}, label)), h('dd', {}, value)])),
      note ? h('p', { class: 'note' }, note) : '',
    ]);
    const count = model.spans.length;
    cursor.style.left = `${(index / count) * 100}%`;
    cursor.style.width = `${100 / count}%`;
    const middle = ((index + 0.5) / count) * this.width;
    const wide = tip.offsetWidth;
    tip.style.left = `${Math.max(-8, Math.min(middle > this.width / 2 ? middle - wide - 14 : middle + 14, this.width - wide + 8))}px`;
  }
}

// Users

/** A user's name, and the id where another is called the same. @param {words.Named} user */
function who(user) {
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

// The activity table

const PAGE_ROWS = 100;
/** Pages whose rows stay in memory; those far from what is seen are asked for again by their cursors. */
const PAGES_KEPT = 40;
const SPARE_ROWS = 12;
/** While the pointer moved over the table so lately, new rows wait, so that nothing moves under the hand. */
const HAND_MS = 1500;
/** New rows are read aloud no more often than this. */
const SPOKEN_MS = 10_000;

/**
 * A row as shown: an activity, an import of many, or one of its activities below it.
 * @typedef {{ row: Row, inner: boolean, open: boolean, more: { cursor: string | null, from: Line } | null }} Line
 * @typedef {{ cursor: string | null, count: number, lines: Line[] | null, parts: Map<string, number>, pinned: boolean, asking: boolean }} Page
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
    /** The report moved while it asked. */
    this.again = false;
    /** The end came into view while it asked. */
    this.wanted = false;
    /** Rows failed, and wait to be asked for again. */
    this.waits = false;
    /** Told what failed, and how to ask again; null: it did not. @type {(part: 'activities' | 'rows', problem: unknown, again?: () => void) => void} */
    this.trouble = () => {};
    this.turn = 0;
    this.saidAt = -SPOKEN_MS;
    /** Where each import stands, by batch and activity. @type {Map<string, { page: Page, line: Line }>} */
    this.imports = new Map();
    this.handAt = -HAND_MS;
    this.top = 0;
    this.height = 640; // until the browser tells
    /** @type {number | undefined} */
    this.tall = undefined;
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
      class: 'rows', tabindex: 0, role: 'region', 'aria-label': words.labels.activities, scroll: () => this.scrolled(),
      pointermove: () => { this.handAt = performance.now(); },
      pointerleave: () => { this.handAt = -HAND_MS; },
    }, this.table, this.foot);
    this.scroller.style.setProperty('--letters', String(words.longestMoment()));
    this.news = h('p');
    this.spoken = h('p', { class: 'hidden', role: 'status' });
    this.newsButton = h('button', { type: 'button', click: () => this.toNewest() }, text.showNew);
    this.newsBar = h('div', { class: 'news' }, this.news, this.spoken, this.newsButton);
    this.newsButton.hidden = true;
    this.kept = h('p', { class: 'note', hidden: true });
    find(this.section, '.body').replaceChildren(this.kept, this.newsBar, this.scroller);
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
    if (!this.news || !this.newsBar || !this.newsButton) return;
    this.newsBar.classList.toggle('some', count > 0);
    this.newsButton.hidden = count === 0;
    say(this.news, count > 0 ? text.newRows(count) : '');
    if (!this.spoken || (count > 0 && performance.now() - this.saidAt < SPOKEN_MS)) return;
    this.saidAt = count > 0 ? performance.now() : -SPOKEN_MS;
    say(this.spoken, this.news.textContent ?? '');
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
      const element = shown ? this.element(shown) : h('tr', { role: 'row', class: 'waiting' }, h('td', { role: 'gridcell' }, text.loading));
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
    if (words.meetUsers(rows)) this.rows = new WeakMap(); // others say now who is who
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
          this.rows.delete(whole);
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

  /** @param {Line} shown */
  element(shown) {
    const known = this.rows.get(shown);
    if (known) return known;
    const made = shown.more ? h('tr', { role: 'row', class: 'waiting' }, h('td', { role: 'gridcell' }, text.loading)) : shown.row.rows != null ? this.importRow(shown) : this.activityRow(shown);
    this.rows.set(shown, made);
    return made;
  }

  /** Users share a name who did not: rows that are shown say who is who. */
  rename() {
    this.rows = new WeakMap();
    this.render();
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
      this.trouble('rows', null);
      this.changed(this.pages.indexOf(page));
    } catch (problem) {
      if (turn !== this.turn) return;
      waiting.open = false;
      this.rows.set(waiting, h('tr', { role: 'row', class: 'waiting' }, h('td', { role: 'gridcell' }, h('button', { type: 'button', click: () => this.askAgain() }, text.tryAgain))));
      this.wait(problem);
      this.render();
    }
  }
}

/** @param {string | null} cursor @returns {Page} */
const newPage = (cursor) => ({ cursor, count: 0, lines: [], parts: new Map(), pinned: false, asking: false });

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

const root = document.documentElement;
const REPORT_COMPONENTS = ['added', 'deleted', 'added-by-date', 'deleted-by-date', 'added-by-source', 'users'];
/** Parameters of the API that the page passes on. Those of mail and chat programs (`utm_source`, `fbclid`) are nobody's, and left alone. */
const REPORT = ['from', 'to', 'period', 'timezone', 'interval', 'week_start', 'source', 'user', 'compare'];
/** Parameters of the API that only the activity table has. */
const TABLE = ['activity', 'order', 'batches', 'batch'];
/** Where the stream fails the page asks so often; where others have all streams, oftener. */
const POLL_MS = 10_000;
const SHARED_POLL_MS = 5_000;
/** A stream that ended is opened again after so long at most. */
const LAST_AGAIN_MS = 5_000;
/** Numbers that are older than this are not live, whatever they say. */
const OLD_SECONDS = 40;
/** With more days than this an hour is too narrow a bucket. */
const HOUR_DAYS = 49;
/** The longest range of the API. */
const MAX_DAYS = 1_100;
const LONG = ['last_90_days', 'this_year', 'all'];
const FIRST_EVENT_MS = 2_500;
/** The API speaks every 15 s; a stream that is silent for longer is dead. */
const SILENCE_MS = 20_000;
/** What only errors need is fetched so long after the first view: before it is needed, and beside nothing that is. */
const SPARE_MS = 2_000;
const TOKEN_KEY = 'contacts-report.token';

/** @param {string} name @returns {HTMLElement} */
export const component = (name) => find(document, `[data-component="${name}"]`);

// The address

export const address = () => new URLSearchParams(location.search);
const embedded = address().get('embed') === '1';

/** @param {URLSearchParams} parameters @param {string[]} names */
function pick(parameters, names) {
  const kept = new URLSearchParams();
  for (const [name, value] of parameters) if (names.includes(name) && value !== '') kept.append(name, value);
  return kept;
}

/** What the report is asked with. */
const reportParameters = () => pick(address(), REPORT);

/** What the activity table is asked with: the report's, a chosen bar's dates, and its own. */
function tableParameters() {
  const here = address();
  const parameters = pick(here, [...REPORT, ...TABLE]);
  parameters.delete('compare');
  const [from, to] = (here.get('table') ?? '').split('..');
  if (from) {
    parameters.delete('period');
    parameters.set('from', from);
    parameters.set('to', to || from);
  }
  if (here.get('imports') !== 'open' && !here.has('batches') && !here.has('batch')) parameters.set('batches', 'fold');
  return parameters;
}

/** `source` or `user` of an address: repeated, or one with commas. @param {string} name */
export function chosen(name) {
  const values = address().getAll(name).filter(Boolean);
  return values.length === 1 ? values[0].split(',') : [...new Set(values)];
}

/** @param {URLSearchParams} parameters @param {string} name @param {string[]} values */
export function choose(parameters, name, values) {
  parameters.delete(name);
  for (const value of values) parameters.append(name, value);
  if (values.length === 1 && values[0].includes(',')) parameters.append(name, values[0]); // repeated, it is not split
}

/** Goes to another view: one entry of the history. @param {(parameters: URLSearchParams) => void} edit @param {'push' | 'replace'} [how] */
export function go(edit, how = 'push') {
  const parameters = address();
  edit(parameters);
  const next = `${location.pathname}?${parameters}`;
  if (next === `${location.pathname}${location.search}`) return;
  history[how === 'push' ? 'pushState' : 'replaceState'](null, '', next);
  if (how === 'push') void visit();
}

// Asking the API

/** An answer that is none: the status, and what the API says about it. Status 0: no answer at all. */
export class Problem extends Error {
  /** @param {number} status @param {ProblemBody} body @param {number | null} [retrySeconds] as told */
  constructor(status, body, retrySeconds = null) {
    super(body.detail || body.title || String(status));
    this.status = status;
    this.body = body;
    this.retrySeconds = retrySeconds;
  }
}

/** @param {string | null} token */
export function keepToken(token) {
  try {
    if (token) sessionStorage.setItem(TOKEN_KEY, token);
    else sessionStorage.removeItem(TOKEN_KEY);
  } catch {
    // Storage is off: the token lives as long as the page.
  }
  heldToken = token;
}
/** @type {string | null} */
let heldToken = null;
export function token() {
  try {
    return heldToken ?? sessionStorage.getItem(TOKEN_KEY);
  } catch {
    return heldToken;
  }
}

/** The address of a resource of this workspace's report. @param {string} resource @param {URLSearchParams} [parameters] */
export function resourceAddress(resource, parameters = reportParameters()) {
  const path = `v1/workspaces/${encodeURIComponent(address().get('workspace') ?? '')}/reports/contacts${resource ? (resource.startsWith('.') ? resource : `/${resource}`) : ''}`;
  const query = String(parameters);
  return new URL(query ? `${path}?${query}` : path, document.baseURI).href;
}

/** @param {string} url @param {Record<string, string>} headers @param {AbortSignal} [signal] */
export async function request(url, headers, signal) {
  const held = token();
  const patience = new Patience();
  const ends = patience.controller.signal;
  let response;
  try {
    response = await fetch(url, { headers: held ? { ...headers, Authorization: `Bearer ${held}` } : headers, signal: signal ? AbortSignal.any([signal, ends]) : ends, cache: 'no-store' });
  } catch (failure) {
    if (signal?.aborted) throw failure;
    throw new Problem(0, {});
  } finally {
    patience.end();
  }
  if (response.ok || response.status === 304) return response;
  const body = await response.json().catch(() => null);
  // Without a code it is a proxy that speaks, while the API is away.
  const foreign = !body?.code && [400, 404].includes(response.status);
  throw new Problem(foreign ? 502 : response.status, (foreign ? null : body) ?? {}, toldToRetry(response.headers));
}

/** What an answer says; one that is no JSON, breaks off or falls silent is none. @param {Response} response */
export const json = (response) => readText(response).then(JSON.parse).catch(() => {
  throw new Problem(0, {});
});

/** @type {import('./types.js').Ask} a resource's JSON, null where it has not changed */
export async function ask(resource, parameters, { etag } = {}) {
  const response = await request(resourceAddress(resource, parameters), { Accept: 'application/json', ...(etag ? { 'If-None-Match': etag } : {}) });
  if (response.status === 304) {
    heard(response.headers.get('Contacts-As-Of'), Number(response.headers.get('Contacts-Lag-Seconds')));
    return null;
  }
  return { body: await json(response), etag: response.headers.get('ETag') };
}

// A visit: the page comes to the address

/** Of visits: each address that was come to. */
let turn = 0;
/** Of reports and their lines: a visit that leaves the report's question as it was is none. */
let view = 0;
/** @type {Report | null} */
export let report = null;
/** Users whose labels the last report of the workspace told. @type {Report['users']} */
let named = [];
/** @type {Choices | null} */
export let choices = null;
let reportKey = '';
let choicesKey = '';
let tableKey = '';
/** The drawing of the newest report. */
let latestDrawing = Promise.resolve();

const table = new ActivityTable(component('activities'), ask, sourceLabel, () => go((to) => {
  if (to.get('order') === 'asc') to.delete('order');
  else to.set('order', 'asc');
}));
export const charts = {
  added: new Chart(component('added-by-date'), words.labels.addedByDate, chooseBar('added-by-date')),
  deleted: new Chart(component('deleted-by-date'), words.labels.deletedByDate, chooseBar('deleted-by-date')),
  sources: new Chart(component('added-by-source'), words.labels.addedBySource, chooseBar('added-by-source')),
};
export const users = new UserList(component('users'), (user) => go((to) => choose(to, 'user', [user])), () => askEveryone(view));
const parts = new Parts(() => drawFreshness());

table.trouble = (part, problem, again = () => {}) => {
  const section = component('activities');
  if (problem == null) {
    if (part === 'activities' && 'kept' in section.dataset) recover(section);
    return parts.mend(part);
  }
  if (unshowable(problem)) return void showProblem(problem);
  if (part === 'activities') fail(section, message(problem, words.labels.activities), again, waits(problem), true);
  return parts.fail(part, told(problem), again);
};

/** All users, past the first 500; those stay while it fails. @param {number} mine @returns {Promise<UserCounts[]>} */
async function askEveryone(mine) {
  const section = component('users');
  try {
    const answer = await ask('users');
    if (mine === view) recover(section);
    if (mine === view) parts.mend('users');
    return answer?.body.users ?? [];
  } catch (problem) {
    if (mine === view && unshowable(problem)) void showProblem(problem);
    else if (mine === view) {
      const again = () => {
        if (mine === view && users.incomplete) return users.redraw();
        recover(section);
        return parts.mend('users');
      };
      fail(section, message(problem, words.labels.byUser), again, waits(problem), true);
      parts.fail('users', told(problem), again);
    }
    throw problem;
  }
}

/** `Etc/Unknown` is what a browser says that cannot tell. */
const browserZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
/** A zone of the browser's that the API does not know. */
let refusedZone = 'Etc/Unknown';

/** Whether it is the browser's own zone that is wrong: nobody chose it, so UTC takes its place. @param {Problem} problem */
function refusesOwnZone({ status, body }) {
  const zone = address().get('timezone') ?? '';
  if (status !== 400 || zone !== browserZone() || !body.errors?.some(({ parameter }) => parameter === 'timezone')) return false;
  refusedZone = zone;
  go((to) => to.set('timezone', 'UTC'), 'replace');
  return true;
}

/** Shows what the address asks for. Parts whose question is the same stay as they are. @returns {Promise<void>} */
export async function visit() {
  const mine = ++turn;
  const here = address();
  root.dataset.state = 'loading';
  if (here.get('workspace')) parts.mend('page');
  if (root.dataset.workspace !== (here.get('workspace') ?? '')) {
    named = [];
    words.forgetUsers();
  }
  root.dataset.workspace = here.get('workspace') ?? '';
  if (!here.get('workspace')) return chooseWorkspace();
  if (!here.get('timezone')) {
    const zone = browserZone();
    go((to) => to.set('timezone', zone === refusedZone ? 'UTC' : zone), 'replace');
  }
  leaveGuide();
  if (choicesKey !== choicesAddress()) choices = null;
  drawControls();
  const key = resourceAddress('');
  const sameReport = key === reportKey && report && root.dataset.fault !== 'yes';
  const rows = resourceAddress('activities', tableParameters());
  const sameRows = rows === tableKey && (component('activities').dataset.state !== 'error' || 'kept' in component('activities').dataset);
  root.dataset.fault = 'no';
  if (!sameReport) for (const name of REPORT_COMPONENTS) set(component(name), 'aria-busy', 'true');
  try {
    await Promise.all([
      sameReport ? drawn() : open(key),
      sameRows ? opening : openTable(rows),
    ]);
    if (!sameReport && sameRows) void table.refresh().catch(() => {});
    if (mine === turn && hasUnnamed()) await readChoices();
    if (mine === turn) root.dataset.state = 'ready';
  } catch (problem) {
    if (mine === turn) await showProblem(problem);
  }
}

/** @param {string} key */
async function open(key) {
  const mine = ++view;
  live.stop();
  reportKey = '';
  report = null;
  users.begin();
  parts.mend('users');
  const first = await live.start(mine);
  if (mine !== view || !first) return;
  if (root.dataset.fault !== 'yes') reportKey = key;
  if (document.hidden) pause();
  await drawn();
}

/** The newest report is there whole: one that comes while another is drawn takes its place. */
async function drawn() {
  for (let seen; seen !== latestDrawing;) await (seen = latestDrawing);
}

/** @param {string} key @returns {Promise<void>} */
function openTable(key) {
  tableKey = key;
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
    if (mine !== opened || key !== tableKey) return;
    if (unshowable(problem)) throw problem;
    const again = () => void (mine === opened && key === tableKey && openTable(key).catch(showProblem));
    table.clear();
    fail(section, message(problem, words.labels.activities), again, waits(problem));
    parts.fail('activities', told(problem), again);
  } finally {
    if (mine === opened) section.removeAttribute('aria-busy');
  }
}

/** Whether the report or its filters name what only the list of choices has a label for. */
function hasUnnamed() {
  const sources = [...(report?.sources.names ?? []), ...chosen('source')];
  return sources.some((name) => !(name in words.sources)) || chosen('user').some((id) => id !== 'none' && !knownUser(id)?.user_name);
}

/** The sources and users to filter by: asked for when a hand comes near the filters, or when one has no label yet. */
export async function readChoices() {
  const key = choicesAddress();
  if (key === choicesKey) return choicesRead;
  choicesKey = key;
  choicesRead = askChoices(key);
  return choicesRead;
}
let choicesRead = Promise.resolve();
const choicesAddress = () => resourceAddress('filters', new URLSearchParams());

/** @param {string} key */
async function askChoices(key) {
  const section = component('filters');
  try {
    const answer = await ask('filters', new URLSearchParams());
    if (key !== choicesKey || !answer) return;
    choices = answer.body;
    meet(answer.body.users);
    recover(section);
    parts.mend('filters');
    nameChosen();
    if (report) await drawSources(report);
  } catch (problem) {
    if (key !== choicesKey) return;
    choicesKey = '';
    if (unshowable(problem)) throw problem;
    const again = () => void (key === choicesAddress() && root.dataset.state !== 'error' ? readChoices().catch(showProblem) : parts.mend('filters'));
    fail(section, message(problem, words.labels.filters), again, waits(problem));
    parts.fail('filters', told(problem), again);
  }
}

/** Nothing of the view can be shown: no or a wrong token, no such workspace, a wrong parameter. @param {unknown} problem */
const unshowable = (problem) => problem instanceof Problem && [400, 401, 403, 404].includes(problem.status);

/** The counts are on their way and the page asks again by itself. @param {unknown} problem */
export const waits = (problem) => problem instanceof Problem && problem.status === 503;

/** After how many seconds to ask again, where the API tells. @param {unknown} problem */
const told = (problem) => (problem instanceof Problem ? problem.retrySeconds : null);

/** @param {unknown} problem @param {string} what */
export function message(problem, what) {
  if (!(problem instanceof Problem)) throw problem;
  return problem.status === 503 ? text.unavailable : `${text.failed(what)} ${problem.body.detail ?? ''}`.trim();
}

// Drawing a report

/** @param {Report} next @param {number} mine */
export async function show(next, mine) {
  if (mine !== view) return;
  report = next;
  named = next.users;
  meet(named);
  hear(next.freshness);
  drawRange(next);
  latestDrawing = drawParts(next, mine);
  await latestDrawing;
}

/** @param {Report['users']} some */
function meet(some) {
  if (!words.meetUsers(some)) return;
  if (users.drawn) users.show();
  table.rename();
}

/** Each part in a task of its own, the numbers first. @param {Report} next @param {number} mine */
async function drawParts(next, mine) {
  document.title = text.documentTitle(words.number(next.added.count), words.number(next.deleted.count), address().get('workspace') ?? '');
  drawWarnings(next);
  /** @type {Record<string, () => void | Promise<void>>} */
  const parts = {
    added: () => drawCard(component('added'), next, 'added'),
    deleted: () => drawCard(component('deleted'), next, 'deleted'),
    users: () => users.draw(next.users, next.users_omitted.count),
    'added-by-date': () => charts.added.draw(dateModel(next, 'added')),
    'deleted-by-date': () => charts.deleted.draw(dateModel(next, 'deleted')),
    'added-by-source': () => drawSources(next),
  };
  const superseded = () => mine !== view || next !== report;
  for (const [name, draw] of Object.entries(parts)) {
    await breathe();
    if (superseded()) return;
    await draw();
    if (superseded()) return;
    if (!('kept' in component(name).dataset)) recover(component(name));
    component(name).removeAttribute('aria-busy');
  }
  void drawEmptiness(next);
  nameChosen();
  if (root.dataset.state === 'ready' && hasUnnamed()) void readChoices().catch(() => {});
}

/** @param {Report} next @param {'added' | 'deleted'} kind @returns {import('./types.js').ChartModel} */
export function dateModel(next, kind) {
  return {
    none: kind === 'added' ? text.noAdded : text.noDeleted, spans: next.timeline, interval: next.query.interval, stacked: false,
    series: [{ name: kind, label: words.activities[kind], colour: kind, values: next.timeline.map((bucket) => bucket[kind]) }],
    compared: words.earlierRange(next.query), timezone: next.query.timezone,
    earlier: next.query.compare && next.timeline.map(({ previous }) => ({ .../** @type {import('./types.js').EarlierBucket} */ (previous), value: previous?.[kind] ?? 0 })),
  };
}

const COLOURS = ['incoming_message', 'developer_api', 'contact_import', 'user', 'echo_message'];
/** @param {string} name @param {number} place */
const colourOf = (name, place) => (name === 'none' ? 's-none' : name === '*' ? 's-rest' : COLOURS.includes(name) ? `s${COLOURS.indexOf(name)}` : `s${5 + ((place - 5) % 3)}`);

/** Our own word first, so that a source is not renamed when the API's labels come. @param {string} name */
export function sourceLabel(name) {
  return words.sources[name] ?? words.named(choices?.sources.find((one) => one.source === name)?.label, name);
}

/** @param {Report} next */
export async function drawSources(next) {
  const { names, timeline } = next.sources;
  drawLegend(next);
  await charts.sources.draw({
    none: text.noAdded, spans: timeline, interval: next.query.interval, stacked: true, compared: '', timezone: next.query.timezone, earlier: null,
    series: names.map((name, place) => ({ name, label: sourceLabel(name), colour: colourOf(name, place), values: timeline.map((bucket) => bucket.added[name]) })),
  });
}

/** The legend tells each source's total and meaning, and sets the filter. @param {Report} next */
function drawLegend({ sources: { names, totals }, added }) {
  const list = find(component('added-by-source'), '.legend');
  const picked = chosen('source');
  const key = names.map((name) => `${name} ${sourceLabel(name)}`).join('\n');
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    const held = list.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.name : null;
    list.replaceChildren(...names.map((name, place) => h('li', {},
      h('button', { type: 'button', 'data-name': name, disabled: name === '*', click: () => pickSource(name) },
        h('i', { class: `swatch ${colourOf(name, place)}` }), h('bdi', { class: 'name' }, sourceLabel(name)),
        h('span', { class: 'amount', 'data-source': name }), h('span', { class: 'share' }),
        h('small', {}, words.explanations[name] ?? '')))));
    if (held) /** @type {HTMLElement | null} */ (list.querySelector(`[data-name="${CSS.escape(held)}"]`))?.focus();
  }
  for (const button of list.querySelectorAll('button')) {
    const name = button.dataset.name ?? '';
    const amount = find(button, '.amount');
    set(amount, 'data-value', totals[name]);
    say(amount, words.number(totals[name]));
    say(find(button, '.share'), words.percent(totals[name], added.count));
    set(button, 'aria-pressed', String(picked.includes(name)));
    button.classList.toggle('off', picked.length > 0 && !picked.includes(name));
  }
}

/** @param {string} name */
function pickSource(name) {
  const picked = chosen('source');
  go((to) => choose(to, 'source', picked.includes(name) ? picked.filter((one) => one !== name) : [...picked, name]));
}

/** @param {Report} next */
function drawWarnings(next) {
  const list = find(document, '#warnings');
  const told = next.warnings.map(({ message }) => message);
  if (list.dataset.told === told.join('\n')) return;
  list.dataset.told = told.join('\n');
  list.replaceChildren(...told.map((one) => h('li', {}, one)));
  list.hidden = !told.length;
}

// A bar was chosen: the table shows its dates, and one step more zooms into them

/** @param {string} name @returns {(span: Span, interval: string) => void} */
function chooseBar(name) {
  return (span, interval) => {
    const { from, to } = words.datesOf(span, interval);
    chosenIn = name;
    go((next) => next.set('table', from === to ? from : `${from}..${to}`));
    drawChosen();
  };
}
let chosenIn = 'activities';

function drawChosen() {
  const [from, last] = (address().get('table') ?? '').split('..');
  const to = last || from;
  for (const bar of document.querySelectorAll('.chosen')) bar.remove();
  if (!from) return;
  const range = /^\d{4}-\d\d-\d\d$/.test(from) && /^\d{4}-\d\d-\d\d$/.test(to) ? words.dateRange(from, to) : from;
  for (const name of new Set([chosenIn, 'activities'])) {
    const section = component(name);
    // Below a chart, so that its bars stay where the hand is.
    const beside = name === 'activities' ? find(section, '.body') : null;
    section.insertBefore(h('div', { class: 'chosen' }, h('span', {}, text.tableShows(range)),
      name === 'activities' ? null : h('button', { type: 'button', click: () => component('activities').scrollIntoView({ block: 'start' }) }, text.toTable),
      h('button', { type: 'button', click: () => zoom(from, to) }, text.zoom),
      h('button', { type: 'button', click: () => go((next) => next.delete('table')) }, text.allDates)), beside);
  }
}

/** @param {string} from @param {string} to */
function zoom(from, to) {
  go((next) => {
    for (const name of ['table', 'period', 'interval']) next.delete(name);
    next.set('from', from);
    next.set('to', to);
  });
}

// Freshness

/** @type {Freshness | null} */
let fresh = null;
let freshAt = 0;
let connection = 'connecting';

/** @param {Freshness} next */
export function hear(next) {
  fresh = next;
  freshAt = performance.now();
  drawFreshness();
}

/** A 304 says how fresh the numbers still are. @param {string | null} asOf @param {number} lag */
function heard(asOf, lag) {
  if (fresh && asOf) hear({ ...fresh, as_of: asOf, lag_seconds: lag });
}

/** @param {string} next */
function connected(next) {
  connection = next;
  drawFreshness();
}

function drawFreshness() {
  const badge = component('freshness');
  set(badge, 'data-connection', connection);
  const notice = find(document, '#notice');
  const behind = [...new Set([...parts.behind.keys()].map((name) => words.parts[name]))];
  const reached = ['stream', 'polling'].includes(connection);
  say(find(badge, '.line'), reached && behind.length ? text.askingFor(behind) : words.connections[connection === 'polling' && live.crowded ? 'sharing' : connection]);
  if (!fresh) return;
  const seconds = fresh.lag_seconds + (performance.now() - freshAt) / 1000;
  set(badge, 'data-value', fresh.lag_seconds);
  set(badge, 'data-freshness', fresh.state);
  const time = find(badge, 'time');
  set(time, 'datetime', fresh.as_of);
  const at = words.instant(fresh.as_of, address().get('timezone') ?? 'UTC');
  set(badge, 'title', text.asOf(at));
  const cut = connection === 'lost' || connection === 'unavailable' || (reached && seconds > Math.max(OLD_SECONDS, fresh.lag_seconds * 2) && fresh.state === 'live');
  const trouble = cut ? 'lost' : fresh.state === 'live' ? '' : fresh.state;
  // Live is what all parts are, and the line to them.
  say(find(badge, '.word'), fresh.state !== 'live' ? words.freshness[fresh.state] : cut ? text.notLive : behind.length ? text.partlyLive : words.freshness.live);
  say(time, fresh.state === 'live' && !cut ? text.lag(seconds) : text.behind(words.age(seconds)));
  set(notice, 'data-kind', trouble || null);
  const told = trouble === 'lost' ? text.lost(at) : trouble === 'stalled' ? text.stalled(at) : trouble ? text.catchingUp(words.age(seconds)) : '';
  say(find(notice, 'p'), told);
  // Read aloud when the state changes, not each second that its age does.
  const spoken = find(notice, '[role="status"]');
  if (spoken.dataset.kind !== trouble) {
    spoken.dataset.kind = trouble;
    say(spoken, told);
  }
  root.classList.toggle('stale', Boolean(trouble));
}

// The live line: a stream, else asking

const live = {
  /** @type {AbortController | null} */
  line: null,
  mine: 0,
  revision: '',
  /** The revision that came last in this view. */
  seen: '',
  /** @type {string | null} */
  etag: null,
  tries: 0,
  /** Askings in a row that failed. */
  failures: 0,
  timer: 0,
  /** Whether a stream ever brought an event here. */
  proven: false,
  seat: new Seat(),
  /** Others have all the streams. */
  crowded: false,

  stop() {
    this.line?.abort();
    this.line = null;
    clearTimeout(this.timer);
  },

  /** Begins a view: true once its first report is drawn, or its parts show that they failed. @param {number} mine */
  async start(mine) {
    this.mine = mine;
    this.revision = '';
    this.seen = '';
    this.etag = null;
    this.tries = 0;
    this.failures = 0;
    connected('connecting');
    if (await this.stream(true)) return true;
    if (mine !== view) return false;
    return this.poll(true);
  },

  /** Comes back after a pause or a loss. */
  async resume() {
    if (document.hidden) return connected('paused');
    const mine = this.mine;
    if (await this.stream(false)) return;
    if (mine === view) await this.poll(false).catch((problem) => showProblem(problem));
  },

  /** The network is gone: it is tried again at once, since a server of this machine may still answer. */
  lose() {
    if (document.hidden || root.dataset.state === 'error' || !report) return;
    this.stop();
    this.again(true);
  },

  /**
   * Opens the stream: true as soon as it brought its first report (or, proven and resumed, was accepted), false where it
   * did not in time, or all streams are taken; a late one is taken all the same. What only a person can mend (401, 403,
   * 404, 400) is thrown at the start of a view.
   * @param {boolean} first
   */
  async stream(first) {
    this.stop();
    const { mine } = this;
    const line = (this.line = new AbortController());
    this.crowded = !(await this.seat.take());
    if (this.crowded || line !== this.line || mine !== view) return false;
    // A proxy may accept a stream and never pass it on: only one that spoke before is believed without a word.
    const trusted = this.proven && !first;
    return Promise.race([this.read(line, first, trusted), new Promise((resolve) => { setTimeout(resolve, FIRST_EVENT_MS, false); })]);
  },

  /** @param {AbortController} line @param {boolean} first @param {boolean} trusted @returns {Promise<boolean>} */
  async read(line, first, trusted) {
    const { mine } = this;
    const silence = new Patience(SILENCE_MS);
    silence.controller.signal.addEventListener('abort', () => line.abort());
    let response;
    try {
      response = await request(resourceAddress('live'), { Accept: 'text/event-stream', ...(trusted && this.revision ? { 'Last-Event-ID': this.revision } : {}) }, line.signal);
      if (!response.body || !response.headers.get('Content-Type')?.startsWith('text/event-stream')) throw new Problem(0, {});
    } catch (problem) {
      silence.end();
      if (line === this.line) this.seat.leave(); // others may have more luck
      if (mine !== view || !(problem instanceof Problem) || !unshowable(problem) || problem.status === 404) return false;
      if (first) throw problem;
      await showProblem(problem);
      return false;
    }
    const { body } = response;
    return new Promise((resolve) => {
      let spoke = false;
      if (trusted) {
        connected('stream');
        resolve(true);
      }
      /** @param {string} event @param {string} data @param {string} id */
      const take = (event, data, id) => {
        if (mine !== view) return line.abort();
        spoke = this.proven = true;
        this.tries = this.failures = 0;
        clearTimeout(this.timer); // of asking, where the stream came late
        if (connection !== 'stream') connected('stream');
        if (event === 'freshness') return hear(JSON.parse(data));
        if (event !== 'report') return undefined;
        this.revision = id;
        this.etag = `W/"${id}"`;
        void this.arrived(JSON.parse(data), mine).then(() => resolve(true));
        return undefined;
      };
      readEvents(body, line.signal, take, () => silence.heard()).catch(() => {}).finally(() => {
        silence.end();
        resolve(false);
        if (mine !== view || this.line !== line) return;
        if (!spoke) {
          this.proven = false; // it was believed, and said nothing
          this.seat.leave();
        }
        if ((spoke || trusted) && !document.hidden) this.again(silence.controller.signal.aborted);
      });
    });
  },

  /** The stream ended: soon once more, later each time. @param {boolean} lost nothing came any more */
  again(lost) {
    this.tries += 1;
    connected(lost ? 'lost' : this.tries > 1 ? 'polling' : 'connecting');
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.resume(), Math.min(LAST_AGAIN_MS, 500 * 2 ** this.tries) * (0.8 + Math.random() / 5));
  },

  /** Asks for the report, again every 10 s (every 5 s where others have the streams), and tries the stream at times. @param {boolean} first */
  async poll(first) {
    const { mine } = this;
    clearTimeout(this.timer);
    let wait;
    try {
      const answer = await ask('', undefined, { etag: this.etag });
      if (mine !== view) return false;
      this.failures = 0;
      if (connection !== 'stream') connected('polling');
      if (answer && connection !== 'stream') {
        this.etag = answer.etag;
        this.revision = answer.body.freshness.revision;
        await this.arrived(answer.body, mine);
      }
      wait = (this.crowded ? SHARED_POLL_MS : POLL_MS) * 0.95;
    } catch (problem) {
      if (mine !== view) return false;
      if (!(problem instanceof Problem) || unshowable(problem)) throw problem;
      if (connection !== 'stream') connected(problem.status === 503 ? 'unavailable' : 'lost');
      if (first || !report) await failed(problem, mine);
      wait = retryDelay(this.failures, problem.retrySeconds);
      this.failures += 1;
    }
    if (mine !== view) return false;
    if (connection === 'stream') return true;
    this.tries += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (document.hidden) return;
      if (this.tries % 3 === 0 || connection !== 'polling' || this.crowded) void this.resume();
      else void this.poll(false).catch((problem) => showProblem(problem));
    }, wait);
    return true;
  },

  /** @param {Report} next @param {number} mine */
  async arrived(next, mine) {
    const moved = this.seen && this.seen !== next.freshness.revision;
    this.seen = next.freshness.revision;
    await show(next, mine);
    if (mine !== view) return;
    const recovered = root.dataset.fault === 'yes';
    reportKey = resourceAddress('');
    root.dataset.fault = 'no';
    if (moved || recovered) void table.refresh().catch(() => {});
  },
};

/** The report has no answer: its parts say so, and nothing of another question stays. @param {Problem} problem @param {number} mine */
async function failed(problem, mine) {
  const already = root.dataset.fault === 'yes';
  reportKey = '';
  root.dataset.fault = 'yes';
  if (!already) clear();
  const current = () => mine === view && connection !== 'stream';
  // Where the API fails, each part is tried alone, so that one fault takes one part.
  const trying = problem.status >= 500 && !waits(problem) && guides().then((module) => module.parts(problem, current));
  if (trying && (await Promise.race([trying, new Promise((resolve) => { setTimeout(resolve, FIRST_EVENT_MS, 'late'); })])) !== 'late') return;
  if (current() && !(trying && already)) for (const name of REPORT_COMPONENTS) failPart(name, problem);
}

/** @param {string} name @param {Problem} problem */
export function failPart(name, problem) {
  component(name).removeAttribute('aria-busy');
  fail(component(name), message(problem, words.parts[name]), () => void visit(), waits(problem));
}

function clear() {
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

document.addEventListener('visibilitychange', () => {
  if (document.hidden) return pause();
  parts.hurry();
  if (root.dataset.state !== 'error' && address().get('workspace')) void live.resume();
  return undefined;
});
function pause() {
  live.stop();
  live.seat.leave();
  if (root.dataset.state !== 'error') connected('paused');
}
addEventListener('offline', () => live.lose());
addEventListener('online', () => {
  if (document.hidden) return;
  parts.hurry();
  if (['lost', 'unavailable'].includes(connection) && root.dataset.state !== 'error') void live.resume();
});
setInterval(() => document.hidden || drawFreshness(), 1000);

// The controls

/** @param {string} id @returns {HTMLInputElement} */
const control = (id) => find(document, `#${id}`);

/** What the address says, at once; dates of a preset follow with the report. */
function drawControls() {
  const here = address();
  document.querySelector('.refused')?.remove();
  const custom = here.has('from') || here.has('to');
  control('period').value = custom ? 'custom' : here.get('period') || 'last_7_days';
  if (custom) writeDates(here.get('from') ?? '', here.get('to') ?? '');
  control('interval').value = here.get('interval') || 'auto';
  control('compare').value = here.get('compare') || 'previous_period';
  if (document.activeElement !== control('timezone')) control('timezone').value = here.get('timezone') ?? '';
  control('kind').value = here.get('activity') ?? '';
  control('fold').checked = here.get('imports') !== 'open' && !here.has('batch');
  listNames(find(document, '#workspace-value'), [words.shownId(here.get('workspace') ?? '')], '');
  nameChosen();
  find(document, '#reset').hidden = ![...pick(here, [...REPORT, ...TABLE]).keys()].some((name) => name !== 'timezone');
  drawChosen();
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll('a[data-resource]'))) {
    const { resource = '' } = link.dataset;
    const parameters = resource.startsWith('activities') ? pick(tableParameters(), [...REPORT, ...TABLE].filter((name) => name !== 'batches' || resource === 'activities')) : reportParameters();
    if (resource.endsWith('.csv')) parameters.set('bom', 'true'); // spreadsheets take what has none for another encoding
    link.href = resourceAddress(resource, parameters);
  }
}

/** The chosen sources and users, by the labels that are known so far. */
function nameChosen() {
  listNames(find(document, '#sources-value'), chosen('source').map(sourceLabel), text.allSources);
  listNames(find(document, '#users-value'), chosen('user').map(userLabel), text.allUsers);
}

/** The first names and how many more there are; each is cut at its own end. @param {HTMLElement} value @param {string[]} names @param {string} all */
function listNames(value, names, all) {
  const [first, second] = names;
  const rest = names.length > 2 ? ` +${names.length - 2}` : null;
  const drawn = JSON.stringify([first ?? all, second, rest]);
  if (value.dataset.drawn === drawn) return;
  value.dataset.drawn = drawn;
  value.replaceChildren(...(first == null ? [all] : [h('bdi', {}, first), second == null ? '' : ', ', second == null ? '' : h('bdi', {}, second), rest ?? '']));
}

/** @param {string} id */
export const knownUser = (id) => (choices?.users ?? []).concat(named).find((one) => one.user_id === id);

/** @param {string} id */
const userLabel = (id) => words.userName(knownUser(id) ?? { user_id: id, user_name: null });

/** @param {Report} next */
function drawRange({ query }) {
  writeDates(query.from, query.to);
  find(document, '#interval option[value="hour"]').disabled = daysOf(query.from, query.to) > HOUR_DAYS && query.interval !== 'hour';
  say(find(document, '#range'), `${words.dateRange(query.from, query.to)} · ${query.timezone}`);
}

/** @param {string} from @param {string} to */
const daysOf = (from, to) => (Date.parse(to) - Date.parse(from)) / 86_400_000 + 1;

/** What is being typed is nobody else's. @param {string} from @param {string} to */
function writeDates(from, to) {
  for (const [id, value] of [['from', from], ['to', to]]) if (typed !== id) control(id).value = value;
}
/** The date control that is being typed into: what stands in it on the way is no date yet. */
let typed = '';

/** @param {HTMLSelectElement} select @param {Record<string, string>} options */
function offer(select, options) {
  select.replaceChildren(...Object.entries(options).map(([value, label]) => h('option', { value }, label)));
}

/** @param {URLSearchParams} to @param {string} name @param {string} value @param {string} usual */
function assign(to, name, value, usual) {
  if (value === usual) to.delete(name);
  else to.set(name, value);
}

/** A date control gives both dates; the other one follows where it would be on the wrong side. @param {'from' | 'to'} edge */
function pickDates(edge) {
  const input = control(edge);
  const other = control(edge === 'from' ? 'to' : 'from');
  document.querySelector('.refused')?.remove();
  if (!input.validity.valid) return refuse(edge, input.value ? text.dates(input.min, input.max) : '');
  if (control('from').value > control('to').value || !other.value) other.value = input.value;
  if (daysOf(control('from').value, control('to').value) > MAX_DAYS) return refuse(edge, text.tooLong(MAX_DAYS, edge, words.dateAfter(other.value, edge === 'from' ? 1 - MAX_DAYS : MAX_DAYS - 1)));
  return go((to) => {
    for (const name of ['period', 'table']) to.delete(name);
    if (daysOf(control('from').value, control('to').value) > HOUR_DAYS && to.get('interval') === 'hour') to.delete('interval');
    to.set('from', control('from').value);
    to.set('to', control('to').value);
  });
}

/** Beside the control it says why; both dates stay those of the report. @param {'from' | 'to'} edge @param {string} why */
function refuse(edge, why) {
  if (report) writeDates(report.query.from, report.query.to);
  if (why) control(edge).after(h('small', { class: 'refused', role: 'alert' }, why));
}

function listen() {
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-word]'))) say(element, words.labels[element.dataset.word ?? '']);
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-name]'))) element.setAttribute('aria-label', words.labels[element.dataset.name ?? '']);
  offer(/** @type {any} */ (control('period')), { ...words.periods, custom: text.custom });
  find(document, '#period option[value="custom"]').hidden = true;
  offer(/** @type {any} */ (control('interval')), words.intervals);
  offer(/** @type {any} */ (control('compare')), words.comparisons);
  offer(/** @type {any} */ (control('kind')), words.activities);
  /** @param {string} id @param {(value: string) => void} then */
  const changed = (id, then) => control(id).addEventListener('change', () => then(control(id).value));
  changed('period', (value) => value !== 'custom' && go((to) => {
    for (const name of ['from', 'to', 'table', ...(LONG.includes(value) && to.get('interval') === 'hour' ? ['interval'] : [])]) to.delete(name);
    to.set('period', value);
  }));
  for (const edge of /** @type {const} */ (['from', 'to'])) {
    const input = control(edge);
    let before = '';
    const commit = () => {
      if (!typed) return;
      typed = '';
      if (!input.value) input.value = before;
      if (input.value !== before) pickDates(edge);
    };
    changed(edge, () => typed || pickDates(edge));
    input.addEventListener('keydown', ({ key }) => {
      if (key === 'Enter') commit();
      else if (!typed && (/^\d$/.test(key) || ['Backspace', 'Delete', 'ArrowUp', 'ArrowDown'].includes(key))) [typed, before] = [edge, input.value];
    });
    input.addEventListener('blur', commit);
  }
  changed('interval', (value) => go((to) => assign(to, 'interval', value, 'auto')));
  changed('compare', (value) => go((to) => assign(to, 'compare', value, 'previous_period')));
  changed('kind', (value) => go((to) => assign(to, 'activity', value, '')));
  changed('fold', () => go((to) => {
    for (const name of ['batches', 'batch']) to.delete(name);
    assign(to, 'imports', control('fold').checked ? '' : 'open', '');
  }));
  changed('timezone', (value) => void chooser().then((choosers) => choosers.commitZone(value)));
  control('timezone').addEventListener('focus', () => void chooser().then((choosers) => choosers.offerZones()), { once: true });
  find(document, '#reset').addEventListener('click', () => go((to) => {
    for (const name of [...to.keys()]) if (!['workspace', 'embed', 'timezone', 'week_start'].includes(name)) to.delete(name);
    control('period').focus(); // the button goes
  }));
  for (const [id, method] of /** @type {const} */ ([['sources', 'openSources'], ['users', 'openUsers'], ['workspace', 'openWorkspaces']])) {
    control(id).addEventListener('click', () => void chooser().then((choosers) => choosers[method](control(id))));
  }
  for (const section of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-export]'))) addMenu(section);
  const more = find(document, '#more');
  more.addEventListener('click', () => set(more, 'aria-expanded', String(more.getAttribute('aria-expanded') !== 'true')));
  for (const event of ['pointerenter', 'focusin']) component('filters').addEventListener(event, () => void readChoices().catch(showProblem));
}
const values = () => persist(() => import('./values.js'));
const chooser = () => persist(() => import('./choosers.js'));

/** Beside each component: its numbers as a table, on the clipboard, and the addresses of its exports. @param {HTMLElement} section */
function addMenu(section) {
  const resource = section.dataset.export ?? '';
  const name = find(section, 'h2').textContent ?? '';
  const id = `menu-${section.dataset.component}`;
  const formats = resource === 'activities' ? ['csv', 'ndjson'] : ['csv'];
  const chart = charts[/** @type {'added'} */ (({ 'added-by-date': 'added', 'deleted-by-date': 'deleted', 'added-by-source': 'sources' })[section.dataset.component ?? ''] ?? '')];
  const menu = h('div', { id, class: 'menu', popover: 'auto', click: () => /** @type {any} */ (menu).hidePopover() },
    chart ? h('button', { type: 'button', click: (/** @type {Event} */ event) => void values().then((module) => module.toggleTable(section, chart, /** @type {HTMLElement} */ (event.target))) }, text.viewTable) : null,
    resource === 'activities' ? null : h('button', { type: 'button', click: () => void values().then((module) => module.copyCsv(resource, name)) }, text.copyCsv),
    ...formats.map((format) => h('a', { 'data-resource': `${resource}.${format}`, download: '', click: (/** @type {Event} */ event) => download(event) }, text.download(format.toUpperCase()))),
    h('a', { 'data-resource': resource, target: '_blank' }, text.address('JSON')));
  const button = h('button', { type: 'button', class: 'options', popovertarget: id, 'aria-label': text.options(name) }, '⋯');
  menu.addEventListener('toggle', () => {
    const box = button.getBoundingClientRect();
    menu.style.top = `${box.bottom + scrollY + 4}px`;
    menu.style.left = `${Math.max(8, box.right + scrollX - menu.offsetWidth)}px`;
  });
  find(section, 'header').append(button, menu);
}

/** A link cannot carry a token, so with one the page fetches the file itself. @param {Event} event */
function download(event) {
  if (!token()) return;
  event.preventDefault();
  void persist(() => import('./values.js')).then((module) => module.save(/** @type {HTMLAnchorElement} */ (event.target)));
}

// In place of a report

const guides = () => persist(() => import('./guides.js'));

/** @returns {Promise<void>} */
async function chooseWorkspace() {
  const mine = turn;
  view += 1;
  reportKey = tableKey = ''; // both miss what comes meanwhile
  live.stop();
  drawControls();
  try {
    const listed = await json(await request(new URL('v1/workspaces', document.baseURI).href, { Accept: 'application/json' }));
    if (mine !== turn) return undefined;
    if (listed.workspaces.length === 1) {
      go((to) => to.set('workspace', listed.workspaces[0].workspace_id), 'replace');
      return visit();
    }
    parts.mend('page');
    (await guides()).workspaces(listed);
    root.dataset.state = 'ready';
  } catch (problem) {
    if (mine === turn) await showProblem(problem);
  }
  return undefined;
}

/** @param {unknown} problem */
export async function showProblem(problem) {
  if (!(problem instanceof Problem)) throw problem;
  if (refusesOwnZone(problem)) return visit();
  turn += 1; // what is still on its way is of no use
  view += 1;
  live.stop();
  reportKey = tableKey = choicesKey = '';
  for (const name of [...parts.behind.keys()]) if (name !== 'page') parts.mend(name);
  const mine = turn;
  root.dataset.state = 'error';
  if (!unshowable(problem)) parts.fail('page', problem.retrySeconds, () => void visit());
  const module = await guides();
  if (mine === turn) module.problem(problem);
  return undefined;
}

/** A range without an event may mean a workspace without one: then the page tells how to send the first. @param {Report} next */
async function drawEmptiness(next) {
  const quiet = next.added.count === 0 && next.deleted.count === 0;
  const guide = find(document, '#empty');
  if (!quiet) set(guide, 'hidden', '');
  else if (guide.hidden) {
    await (await guides()).emptiness(next).then(() => parts.mend('empty'), (problem) => {
      if (next === report) parts.fail('empty', told(problem), () => (next === report ? void drawEmptiness(next) : parts.mend('empty')));
    });
  }
}

function leaveGuide() {
  typed = '';
  find(document, '#guide').hidden = true;
  find(document, '#view').hidden = false;
  find(document, '#empty').hidden = true;
}

// The beginning

/** `#token=…` is taken and removed at once, before anything could keep the address. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!given) return;
  history.replaceState(null, '', location.pathname + location.search);
  keepToken(given);
}

takeToken();
root.classList.toggle('embedded', embedded);
addEventListener('hashchange', () => {
  const before = token();
  takeToken();
  if (token() !== before) void visit();
});
addEventListener('popstate', () => void visit());
listen();
if (embedded) {
  const heading = find(document, 'h1'); // for who listens; the head is not shown
  heading.className = 'hidden';
  find(document, '#view').prepend(heading, find(document, '#range'), component('freshness'));
  addEventListener('message', (event) => event.source === parent && parent !== window && void guides().then((module) => module.acceptToken(event)));
  if (parent !== window) parent.postMessage({ type: 'contacts-report.ready' }, '*');
}
void breathe().then(visit).then(() => setTimeout(() => void guides().then(values), SPARE_MS));
