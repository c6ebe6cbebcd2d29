/** Reads and writes the address of the page, which holds the whole view, and makes the addresses of the API. */

/** Parameters of the API that the page passes on. Those of mail and chat programs (`utm_source`, `fbclid`) are nobody's, and left alone. */
export const REPORT = ['from', 'to', 'period', 'timezone', 'interval', 'week_start', 'source', 'user', 'compare'];
/** Parameters of the API that only the activity table has. */
export const TABLE = ['activity', 'order', 'batches', 'batch'];

/** Shows what the address asks for. @type {() => Promise<void>} */
let showAddress = async () => {};

/** Shows what the address asks for, once more or for the first time. */
export const revisit = () => showAddress();

/** @param {() => Promise<void>} act shows what the address asks for */
export function onVisit(act) {
  showAddress = act;
}

export const address = () => new URLSearchParams(location.search);
export const embedded = address().get('embed') === '1';

/** @param {URLSearchParams} parameters @param {string[]} names */
export function pick(parameters, names) {
  const kept = new URLSearchParams();
  for (const [name, value] of parameters) if (names.includes(name) && value !== '') kept.append(name, value);
  return kept;
}

/** What the report is asked with. */
export const reportParameters = () => pick(address(), REPORT);

/** What the activity table is asked with: the report's, a chosen bar's dates, and its own. */
export function tableParameters() {
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
  if (how === 'push') void revisit();
}

/** The address of a resource of this workspace's report. @param {string} resource @param {URLSearchParams} [parameters] */
export function resourceAddress(resource, parameters = reportParameters()) {
  const path = `v1/workspaces/${encodeURIComponent(address().get('workspace') ?? '')}/reports/contacts${resource ? (resource.startsWith('.') ? resource : `/${resource}`) : ''}`;
  const query = String(parameters);
  return new URL(query ? `${path}?${query}` : path, document.baseURI).href;
}
