/**
 * Keeps the page connected: asks again for what failed, gives up an answer that falls silent, keeps few streams open at once, and
 * reads server-sent events. It knows nothing of what is asked for or shown.
 */

/** An answer of which nothing came for so long is none. */
const PATIENCE_MS = 10_000;
const FIRST_RETRY_MS = 1_000;
/** With the patience, and the time that a stream is waited for, below the 20 s in which the page is to come back. */
const LAST_RETRY_MS = 5_000;
/** A server may tell how long it wants to be left alone, within the same 20 s. */
const TOLD_RETRY_MS = 15_000;
/** Of the six connections that a browser has to one server over HTTP/1.1, so many may be streams; the rest is for answers. */
const SEATS = ['1', '2', '3'];

/** How long to wait after so many failures in a row, in ms; spread, so that not all pages ask at once. @param {number} tries @param {number | null} [told] seconds, by `Retry-After` */
export function retryDelay(tries, told) {
  if (told != null) return Math.min(TOLD_RETRY_MS, told * 1000);
  return Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** tries) * (0.8 + Math.random() / 5);
}

/** Seconds that `Retry-After` tells, as a number or as a date; null where it is absent. @param {Headers} headers */
export function toldToRetry(headers) {
  const told = headers.get('Retry-After');
  if (!told) return null;
  const seconds = Number.isNaN(Number(told)) ? (Date.parse(told) - Date.now()) / 1000 : Number(told);
  return Number.isNaN(seconds) ? null : Math.max(0, seconds);
}

/** Does what needs the server until it succeeds. @template T @param {() => Promise<T>} act @returns {Promise<T>} */
export async function persist(act) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await act();
    } catch (failure) {
      if (!(failure instanceof TypeError)) throw failure; // what fetch and import raise where the server is away
      await new Promise((resolve) => { setTimeout(resolve, retryDelay(tries)); });
    }
  }
}

/** The parts of the page that are behind; each asks again by itself until it is mended. */
export class Parts {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    /** @type {Map<string, { tries: number, timer: number, again: () => void }>} */
    this.behind = new Map();
  }

  /** @param {string} name @param {number | null} told seconds, by `Retry-After` @param {() => void} again ends in `fail` or `mend` */
  fail(name, told, again) {
    const before = this.behind.get(name);
    clearTimeout(before?.timer);
    const tries = before ? before.tries + 1 : 0;
    // Out of sight nothing is asked for; `hurry` does, when it is back.
    const timer = setTimeout(() => document.hidden || again(), retryDelay(tries, told));
    this.behind.set(name, { tries, timer, again });
    this.changed();
  }

  /** @param {string} name */
  mend(name) {
    clearTimeout(this.behind.get(name)?.timer);
    if (this.behind.delete(name)) this.changed();
  }

  /** Asks for all at once: the network, or the reader, is back. */
  hurry() {
    for (const { timer, again } of [...this.behind.values()]) {
      clearTimeout(timer);
      again();
    }
  }
}

/** One of the origin's streams, held by a lock, which the browser gives back when the page goes. */
export class Seat {
  constructor() {
    /** @type {(() => void) | null} */
    this.free = null;
  }

  get held() {
    return this.free != null;
  }

  /** Whether there is a seat for this page; where the browser has no locks (plain HTTP from another machine) for all but frames. */
  async take() {
    if (!navigator.locks) return parent === window;
    for (const name of SEATS) {
      if (this.held || (await this.lock(name))) return true;
    }
    return false;
  }

  /** @param {string} name @returns {Promise<boolean>} */
  lock(name) {
    return new Promise((resolve) => {
      navigator.locks.request(`contacts-report.stream.${name}`, { ifAvailable: true }, (lock) => {
        if (!lock || this.held) return resolve(this.held);
        return new Promise((free) => {
          this.free = () => {
            this.free = null;
            free(undefined);
          };
          resolve(true);
        });
      }).catch(() => resolve(false)); // a sandboxed frame has no locks
    });
  }

  leave() {
    this.free?.();
  }
}

/** A signal that fires where the headers of an answer, or the next piece of it, are waited for in vain. */
export class Patience {
  constructor(ms = PATIENCE_MS) {
    this.ms = ms;
    this.timer = 0;
    this.controller = new AbortController();
    this.heard();
  }

  /** Something came. */
  heard() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.controller.abort(new DOMException('Silence', 'TimeoutError')), this.ms);
  }

  end() {
    clearTimeout(this.timer);
  }
}

/** @param {ReadableStream<Uint8Array>} body @param {AbortSignal} signal ends it @param {(piece: string) => void} take */
async function readPieces(body, signal, take) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream()), { signal }).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    take(/** @type {any} */ (value));
  }
}

/** The whole text of an answer. @param {Response} response */
export async function readText(response) {
  let text = '';
  const patience = new Patience();
  try {
    if (response.body) {
      await readPieces(response.body, patience.controller.signal, (piece) => {
        patience.heard();
        text += piece;
      });
    }
    return text;
  } finally {
    patience.end();
  }
}

/** Reads server-sent events from a body. @param {ReadableStream<Uint8Array>} body @param {AbortSignal} signal @param {(event: string, data: string, id: string) => void} take @param {() => void} alive */
export async function readEvents(body, signal, take, alive) {
  let rest = '';
  await readPieces(body, signal, (piece) => {
    alive();
    rest = (rest + piece).replaceAll('\r\n', '\n');
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
      let [event, data, id] = ['message', '', ''];
      for (const row of rest.slice(0, end).split('\n')) {
        const [, field, content] = /^([^:]*):? ?(.*)$/.exec(row) ?? [];
        if (field === 'event') event = content;
        else if (field === 'data') data += data ? `\n${content}` : content;
        else if (field === 'id') id = content;
      }
      rest = rest.slice(end + 2);
      if (data) take(event, data, id);
    }
  });
}
