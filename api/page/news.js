/** Announces new rows of the activity table, and leads to them. */

import { h, say } from './elements.js';
import { text } from './words.js';

/** New rows are read aloud no more often than this. */
const SPOKEN_MS = 10_000;

export class News {
  /** @param {() => void} lead goes to the new rows */
  constructor(lead) {
    this.seen = h('p');
    this.spoken = h('p', { class: 'hidden', role: 'status' });
    this.button = h('button', { type: 'button', click: () => lead() }, text.showNew);
    this.button.hidden = true;
    this.bar = h('div', { class: 'news' }, this.seen, this.spoken, this.button);
    this.saidAt = -SPOKEN_MS;
  }

  /** @param {number} count */
  announce(count) {
    this.bar.classList.toggle('some', count > 0);
    this.button.hidden = count === 0;
    say(this.seen, count > 0 ? text.newRows(count) : '');
    if (count > 0 && performance.now() - this.saidAt < SPOKEN_MS) return;
    this.saidAt = count > 0 ? performance.now() : -SPOKEN_MS;
    say(this.spoken, this.seen.textContent ?? '');
  }
}
