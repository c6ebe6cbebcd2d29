/** Keeps the report current: by a stream, else by asking. */

import { resourceAddress } from './address.js';
import { root } from './elements.js';
import { connected, connection, crowd, hear } from './freshness.js';
import { Patience, readEvents, retryDelay, Seat } from './line.js';
import { ask, Problem, request, unshowable } from './request.js';
import { shown } from './view.js';

/** @typedef {import('./types.js').Report} Report */

/** Where the stream fails the page asks so often; where others have all streams, oftener. */
const POLL_MS = 10_000;
const SHARED_POLL_MS = 5_000;
/** A stream that ended is opened again after so long at most. */
const LAST_AGAIN_MS = 5_000;
export const FIRST_EVENT_MS = 2_500;
/** The API speaks every 15 s; a stream that is silent for longer is dead. */
const SILENCE_MS = 20_000;

export const live = {
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

  // What comes of it is shown by others, who say how.

  /** The report, another one or the first. @type {(next: Report, mine: number, moved: boolean) => Promise<void>} */
  show: async () => {},
  /** There is no report to show. @type {(problem: Problem, mine: number) => Promise<void>} */
  failed: async () => {},
  /** Nothing of the view can be shown. @type {(problem: unknown) => Promise<void>} */
  refused: async () => {},

  stop() {
    this.line?.abort();
    this.line = null;
    clearTimeout(this.timer);
  },

  /** Out of sight nothing is asked for. */
  pause() {
    this.stop();
    this.seat.leave();
    if (root.dataset.state !== 'error') connected('paused');
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
    if (mine !== shown.view) return false;
    return this.poll(true);
  },

  /** Comes back after a pause or a loss. */
  async resume() {
    if (document.hidden) return connected('paused');
    const mine = this.mine;
    if (await this.stream(false)) return;
    if (mine === shown.view) await this.poll(false).catch((problem) => this.refused(problem));
  },

  /** The network is gone: it is tried again at once, since a server of this machine may still answer. */
  lose() {
    if (document.hidden || root.dataset.state === 'error' || !shown.report) return;
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
    crowd(this.crowded);
    if (this.crowded || line !== this.line || mine !== shown.view) return false;
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
      if (mine !== shown.view || !(problem instanceof Problem) || !unshowable(problem) || problem.status === 404) return false;
      if (first) throw problem;
      await this.refused(problem);
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
        if (mine !== shown.view) return line.abort();
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
        if (mine !== shown.view || this.line !== line) return;
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
      if (mine !== shown.view) return false;
      this.failures = 0;
      if (connection !== 'stream') connected('polling');
      if (answer && connection !== 'stream') {
        this.etag = answer.etag;
        this.revision = answer.body.freshness.revision;
        await this.arrived(answer.body, mine);
      }
      wait = (this.crowded ? SHARED_POLL_MS : POLL_MS) * 0.95;
    } catch (problem) {
      if (mine !== shown.view) return false;
      if (!(problem instanceof Problem) || unshowable(problem)) throw problem;
      if (connection !== 'stream') connected(problem.status === 503 ? 'unavailable' : 'lost');
      if (first || !shown.report) await this.failed(problem, mine);
      wait = retryDelay(this.failures, problem.retrySeconds);
      this.failures += 1;
    }
    if (mine !== shown.view) return false;
    if (connection === 'stream') return true;
    this.tries += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (document.hidden) return;
      if (this.tries % 3 === 0 || connection !== 'polling' || this.crowded) void this.resume();
      else void this.poll(false).catch((problem) => this.refused(problem));
    }, wait);
    return true;
  },

  /** @param {Report} next @param {number} mine */
  arrived(next, mine) {
    const moved = Boolean(this.seen && this.seen !== next.freshness.revision);
    this.seen = next.freshness.revision;
    return this.show(next, mine, moved);
  },
};
