/** Asks the API, with the token where there is one, and says what an answer that is none means. */

import { resourceAddress } from './address.js';
import { heard } from './freshness.js';
import { Patience, readText, toldToRetry } from './line.js';
import { text } from './words.js';

/** @typedef {import('./types.js').ProblemBody} ProblemBody */

const TOKEN_KEY = 'contacts-report.token';

/** An answer that is none: the status, and what the API says about it. Status 0: no answer at all. */
export class Problem extends Error {
  /** @param {number} status @param {ProblemBody} body @param {number | null} [retrySeconds] as told @param {string | null} [askedWith] the token of the request */
  constructor(status, body, retrySeconds = null, askedWith = null) {
    super(body.detail || body.title || String(status));
    this.status = status;
    this.body = body;
    this.retrySeconds = retrySeconds;
    this.askedWith = askedWith;
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
  throw new Problem(foreign ? 502 : response.status, (foreign ? null : body) ?? {}, toldToRetry(response.headers), held);
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

/** Nothing of the view can be shown: no or a wrong token, no such workspace, a wrong parameter. @param {unknown} problem */
export const unshowable = (problem) => problem instanceof Problem && [400, 401, 403, 404].includes(problem.status);

/** The counts are on their way and the page asks again by itself. @param {unknown} problem */
export const waits = (problem) => problem instanceof Problem && problem.status === 503;

/** After how many seconds to ask again, where the API tells. @param {unknown} problem */
export const told = (problem) => (problem instanceof Problem ? problem.retrySeconds : null);

/** @param {unknown} problem @param {string} what */
export function message(problem, what) {
  if (!(problem instanceof Problem)) throw problem;
  return problem.status === 503 ? text.unavailable : `${text.failed(what)} ${problem.body.detail ?? ''}`.trim();
}
