/** Draws bars over a time axis, and tells a pointer or a keyboard what each bar says. */

import { drawing, find, h, painted, set, setAll } from './elements.js';
import * as words from './words.js';
import { text } from './words.js';

/** @typedef {import('./types.js').ChartModel} ChartModel */
/** @typedef {import('./types.js').Span} Span */

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
