/**
 * A dashboard of your own over the report's API, in three ways: asking with ETag, `live` by EventSource, `live` by fetch with a token.
 * No library, no build. Each way calls `show(report)` with the whole report whenever it changed.
 *
 * Parameters are those of the API: `{ period: 'last_30_days', timezone: 'Asia/Kuala_Lumpur', source: ['user', 'none'] }`.
 */

/** The address of a resource of one workspace's report. A list repeats its parameter. */
export function address(base, workspace, parameters = {}, resource = '') {
  const url = new URL(`v1/workspaces/${encodeURIComponent(workspace)}/reports/contacts${resource && `/${resource}`}`, base);
  for (const [name, values] of Object.entries(parameters)) {
    for (const value of [values].flat()) url.searchParams.append(name, value);
  }
  return url;
}

const withToken = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

/** What the API says is wrong, word for word: `detail`, and each wrong parameter. */
async function problem(response) {
  const { detail, errors = [] } = await response.json().catch(() => ({}));
  return new Error([detail ?? response.statusText, ...errors.map((one) => `${one.parameter} ${one.message}`)].join('; '));
}

/**
 * Asks every `seconds`. As long as nothing changed the API answers 304 without a body, so this is cheap; the headers
 * `Contacts-As-Of` and `Contacts-Lag-Seconds` still say how fresh the numbers are.
 */
export function poll(url, { token, seconds = 10, show, fresh = () => {}, failed = () => {} }) {
  let etag = null;
  let timer = 0;
  let stopped = false;
  async function ask() {
    try {
      const response = await fetch(url, { cache: 'no-store', headers: { Accept: 'application/json', ...withToken(token), ...(etag ? { 'If-None-Match': etag } : {}) } });
      if (response.status === 200) {
        const report = await response.json();
        if (stopped) return;
        etag = response.headers.get('ETag');
        show(report);
      } else if (response.status !== 304) throw await problem(response);
      fresh({ as_of: response.headers.get('Contacts-As-Of'), lag_seconds: Number(response.headers.get('Contacts-Lag-Seconds')) });
    } catch (error) {
      failed(error);
    }
    if (!stopped) timer = setTimeout(ask, seconds * 1000);
  }
  void ask();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** `live` where the API runs without tokens: the browser reconnects by itself and says what it has by `Last-Event-ID`. */
export function listen(liveUrl, { show, fresh = () => {}, failed = () => {} }) {
  let source;
  let timer = 0;
  function open() {
    source = new EventSource(liveUrl);
    source.addEventListener('report', (event) => show(JSON.parse(event.data)));
    source.addEventListener('freshness', (event) => fresh(JSON.parse(event.data)));
    source.addEventListener('error', () => {
      failed(new Error('The line is down; it is tried again.'));
      // After an answer that is no stream (a 503, while counts are being put back) the browser gives up.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, 5000);
    });
  }
  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}

/** `live` with a token: EventSource cannot send a header, and the API takes no token from an address; fetch can. */
export function listenWithToken(liveUrl, { token, show, fresh = () => {}, failed = () => {} }) {
  let line = new AbortController();
  let revision = null;
  async function run() {
    let wait = 1000;
    while (!line.signal.aborted) {
      try {
        const response = await fetch(liveUrl, {
          cache: 'no-store',
          signal: line.signal,
          headers: { Accept: 'text/event-stream', ...withToken(token), ...(revision ? { 'Last-Event-ID': revision } : {}) },
        });
        if (!response.ok) throw await problem(response);
        for await (const { event, data, id } of events(response.body)) {
          wait = 1000;
          if (event === 'report') {
            revision = id;
            show(JSON.parse(data));
          } else if (event === 'freshness') fresh(JSON.parse(data));
        }
      } catch (error) {
        if (line.signal.aborted) return;
        failed(error);
      }
      await new Promise((resolve) => { setTimeout(resolve, wait); });
      wait = Math.min(wait * 2, 30_000);
    }
  }
  void run();
  return () => line.abort();
}

/** The events of a stream, one after the other. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest = (rest + value).replaceAll('\r\n', '\n');
    const whole = rest.split('\n\n');
    rest = whole.pop();
    for (const one of whole) {
      const fields = { event: 'message', data: '', id: '' };
      for (const line of one.split('\n')) {
        const [, name, content] = /^([^:]*):? ?(.*)$/.exec(line);
        if (name === 'data') fields.data += (fields.data && '\n') + content;
        else if (name in fields) fields[name] = content;
      }
      if (fields.data) yield fields;
    }
  }
}
