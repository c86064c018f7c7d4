// A browser without a screen: it keeps cookies, follows redirects and fills in the provider's own pages.

// More pages than any login has: a loop is a failure and not a hang.
const PAGES = 20;

/**
 * Opens `url` and does what a person would, until a redirect leads away from `origin` or nothing is left to fill in.
 * @returns {Promise<{location: string} | {page: string}>}
 */
export async function visit(origin, { url, account, deny = false }) {
  const cookies = new Map();
  let next = { url: new URL(url, origin), init: {} };
  for (let pages = 0; pages < PAGES; pages += 1) {
    if (next.url.origin !== origin) return { location: next.url.href };
    const answer = await send(cookies, next);
    const location = answer.headers.get('location');
    if (answer.status >= 300 && answer.status < 400 && location) {
      next = { url: new URL(location, next.url), init: {} };
      continue;
    }
    const page = await answer.text();
    next = (deny && declined(page, next.url)) || submitted(page, next.url, account);
    if (!next) return { page: text(page) };
  }
  throw new Error(`${url} shows no end after ${PAGES} pages`);
}

async function send(cookies, { url, init }) {
  const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const answer = await fetch(url, { ...init, redirect: 'manual', headers: { ...init.headers, cookie } });
  for (const line of answer.headers.getSetCookie()) {
    const [pair, ...attributes] = line.split(';');
    const [name, value] = split(pair);
    const gone = attributes.some((attribute) => {
      const [key, when] = split(attribute);
      return key.toLowerCase() === 'expires' && Date.parse(when) < Date.now();
    });
    if (gone) cookies.delete(name);
    else cookies.set(name, value);
  }
  return answer;
}

// The page's form with what it holds already, and what a person types.
function submitted(page, base, account) {
  const form = page.match(/<form[^>]*action="([^"]*)"[^>]*>([\s\S]*?)<\/form>/);
  if (!form) return null;
  const fields = new URLSearchParams();
  for (const [input] of form[2].matchAll(/<input[^>]*>/g)) {
    const name = attribute(input, 'name');
    if (name) fields.set(name, attribute(input, 'value') ?? '');
  }
  // The box for the code, empty or filled with one that was refused: nobody knows another, so the visit ends here.
  if (fields.has('user_code') && (!fields.get('user_code') || page.includes('class="red"'))) return null;
  if (fields.has('login')) fields.set('login', account);
  if (fields.has('password')) fields.set('password', 'any');
  return post(new URL(decode(form[1]), base), fields);
}

// The way out of a page, where it has one: the button of the device's page, the link of the others.
function declined(page, base) {
  if (page.includes('name="abort"')) {
    const confirm = submitted(page, base);
    const fields = new URLSearchParams(confirm.init.body);
    fields.delete('confirm');
    fields.set('abort', 'yes');
    return post(confirm.url, fields);
  }
  const link = page.match(/<a[^>]*href="([^"]*\/abort)"/);
  return link && { url: new URL(decode(link[1]), base), init: {} };
}

function post(url, fields) {
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  return { url, init: { method: 'POST', headers, body: fields.toString() } };
}

function attribute(tag, name) {
  const found = tag.match(new RegExp(`\\b${name}="([^"]*)"`));
  return found && decode(found[1]);
}

function split(pair) {
  const at = pair.indexOf('=');
  return at < 0 ? [pair.trim(), ''] : [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
}

function decode(html) {
  const named = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'", '#x2F': '/' };
  return html.replace(/&([^;]+);/g, (whole, name) => named[name] ?? whole);
}

function text(page) {
  const bare = page.replace(/<(style|script)[\s\S]*?<\/\1>/g, ' ').replace(/<[^>]*>/g, ' ');
  return decode(bare).replace(/\s+/g, ' ').trim();
}
