/** Asks the API, with the token where there is one. */

const TOKEN_KEY = 'contacts-report.ops-token';
const REPORT_TOKEN_KEY = 'contacts-report.token'; // of the report's page in this window: it may have both scopes
const LONGEST_MS = 10_000;

/** No answer that can be shown. `status` 0: none at all. */
export class Refusal extends Error {
  /** @param {number} status @param {string} detail */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** @type {string | null} */
let held = null;

/** @param {string} token */
export function keep(token) {
  held = token;
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch {
    // Storage is off: the token lives as long as the page.
  }
}

function token() {
  try {
    return held ?? sessionStorage.getItem(TOKEN_KEY) ?? sessionStorage.getItem(REPORT_TOKEN_KEY);
  } catch {
    return held;
  }
}

/** `#token=…` is taken and removed at once, before anything could keep the address. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!given) return false;
  history.replaceState(null, '', location.pathname + location.search);
  keep(given);
  return true;
}

/** How the deployment is. */
export async function ask() {
  const bearer = token();
  try {
    const response = await fetch(new URL('v1/ops', document.baseURI), {
      headers: { Accept: 'application/json', ...(bearer ? { Authorization: `Bearer ${bearer}` } : {}) },
      signal: AbortSignal.timeout(LONGEST_MS),
      cache: 'no-store',
    });
    const body = await response.json();
    if (response.ok) return body;
    throw new Refusal(response.status, body.detail ?? '');
  } catch (failure) {
    throw failure instanceof Refusal ? failure : new Refusal(0, '');
  }
}
