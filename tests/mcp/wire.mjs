// What went over the wire, in the same form as wire.py's: each exchange of a client, as the client got it.

// What differs between any two runs. Simulated logging comes by the clock, in levels that are drawn by lot.
const VOLATILE = [
  [/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'uuid-…'],
  [/\b[0-9a-f]{32}\b/g, 'id-…'],
  [/event-[0-9]+/g, 'event-…'],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, 'time-…'],
  [/\d{1,2}:\d\d:\d\d [AP]M/g, 'time-…'],
  [/127\.0\.0\.1:[0-9]+/g, '127.0.0.1:…'],
  // What the reference server has in base64 says when it was made.
  [/UmVzb3VyY2Ug[\w+/=]+/g, blob => atob(blob).replace(/\d{1,2}:\d\d:\d\d [AP]M/, 'time-…')],
];
const SIMULATED = /[-\s]level[-\s]message/i;

export class Wire {
  #exchanges = [];
  // Set while how much is asked depends on the clock.
  paused = false;

  constructor(bearer) {
    this.headers = { 'accept-encoding': 'identity', ...(bearer && { authorization: `Bearer ${bearer}` }) };
    this.fetch = this.fetch.bind(this);
  }

  async fetch(url, init = {}) {
    const exchange = { method: init.method ?? 'GET', sent: init.body, chunks: [] };
    if (!this.paused) this.#exchanges.push(exchange);
    const response = await fetch(url, init);
    exchange.response = response;
    if (!response.body) return response;
    const copied = new TransformStream({
      transform(chunk, controller) {
        exchange.chunks.push(chunk);
        controller.enqueue(chunk);
      },
    });
    const { status, statusText, headers } = response;
    return new Response(response.body.pipeThrough(copied), { status, statusText, headers });
  }

  // All exchanges. The long streams come last: when they begin beside the others is nobody's to say.
  transcript() {
    const shown = this.#exchanges.map(canonical);
    return [...shown.filter(one => one.method !== 'GET'), ...shown.filter(one => one.method === 'GET')];
  }
}

function canonical({ method, sent, response, chunks }) {
  const shown = { method, sent: sent === undefined ? null : JSON.parse(sent) };
  if (response === undefined) return steady({ ...shown, status: null });
  const type = (response.headers.get('content-type') ?? '').split(';')[0];
  const body = Buffer.concat(chunks).toString();
  const got = type === 'text/event-stream' ? events(body) : parsed(body);
  return steady({ ...shown, status: response.status, type, session: response.headers.has('mcp-session-id'), got });
}

// The events of a stream, without comments, which only keep it open.
function events(body) {
  const blocks = body.split(/\r?\n\r?\n/).map(block => {
    const lines = block.split(/\r?\n/).filter(line => line && !line.startsWith(':'));
    const fields = lines.map(line => [line.split(':', 1)[0], line.slice(line.indexOf(':') + 1).replace(/^ /, '')]);
    return Object.fromEntries(fields.map(([name, value]) => [name, name === 'data' ? parsed(value) : value]));
  });
  return blocks.filter(event => Object.keys(event).length > 0 && !SIMULATED.test(JSON.stringify(event)));
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return body;
  }
}

// The same without what differs between any two runs, its keys in order.
export function steady(value) {
  const text = JSON.stringify(value, (_, inner) => (plain(inner) ? ordered(inner) : inner));
  return JSON.parse(VOLATILE.reduce((shown, [pattern, instead]) => shown.replace(pattern, instead), text));
}

function plain(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function ordered(object) {
  return Object.fromEntries(Object.entries(object).sort(([one], [other]) => (one < other ? -1 : 1)));
}
