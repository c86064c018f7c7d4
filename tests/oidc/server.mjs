// A real OpenID provider with a hand on its controls; README.md has the commands.

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import Provider from 'oidc-provider';

import { visit } from './browser.mjs';
import { CLAIMS, PEOPLE } from './people.mjs';

// Standard output is for answers; the provider speaks of itself there as well.
console.info = console.error;

const options = JSON.parse(process.argv[2] ?? '{}');
const accounts = new Map(Object.entries({ ...PEOPLE, ...options.accounts }));
const disabled = new Set();
const requests = {};
const issued = [];
let outage = 'none';
let keys = fresh();
let answer;

const server = createServer((request, response) => {
  // Without what is different in each login.
  const path = `${request.method} ${request.url.split('?')[0].replace(/^(\/(auth|device|interaction))\/.*/, '$1')}`;
  requests[path] = (requests[path] ?? 0) + 1;
  if (outage === 'hang') return;
  if (outage === 'error') response.writeHead(503).end('out of order');
  else answer(request, response);
});
await listen(0);
const { port } = server.address();
const origin = `http://127.0.0.1:${port}`;
serve();
say({ issuer: origin });

const ACTS = {
  visit: browse,
  tokens,
  account({ name, claims, disabled: out = false }) {
    if (claims) accounts.set(name, { ...accounts.get(name), ...claims });
    if (out) disabled.add(name);
    else disabled.delete(name);
  },
  rotate({ keep = false }) {
    keys = keep ? [...fresh(), ...keys] : fresh();
    serve();
  },
  async outage({ mode }) {
    if (!['none', 'refuse', 'hang', 'error'].includes(mode)) throw new Error(`there is no outage ${mode}`);
    if (mode === 'refuse' && server.listening) {
      server.close();
      server.closeAllConnections();
    }
    if (mode !== 'refuse' && !server.listening) await listen(port);
    // What hangs would hang on.
    if (outage === 'hang') server.closeAllConnections();
    outage = mode;
  },
  requests: () => requests,
  issued: () => issued,
};

// Keys are a provider's configuration, so that new keys are a new provider, of the same issuer and with the same memory.
function serve() {
  const provider = new Provider(origin, {
    clients: [client('portcullis'), client('portcullis-es', 'ES256'), client('kubelogin'), ...(options.clients ?? [])],
    jwks: { keys },
    findAccount,
    claims: CLAIMS,
    scopes: ['openid', 'offline_access'],
    // Groups in the ID token, as the providers in use have them.
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    // A login outlives the browser's window.
    expiresWithSession: () => false,
    cookies: { keys: ['of-no-worth-outside-of-a-test'] },
    features: {
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      // Access tokens for whatever resource is asked for (RFC 8707), as JWTs with its name for their audience (RFC 9068).
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => ({
          audience: resource,
          scope: 'openid',
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    extraTokenClaims: (_, { accountId }) => [...accounts.values()].find(({ sub }) => sub === accountId),
    ttl: {
      AccessToken: options.ttl?.accessToken ?? 600,
      AuthorizationCode: 60,
      DeviceCode: options.ttl?.deviceCode ?? 600,
      Grant: 86400,
      IdToken: options.ttl?.idToken ?? 600,
      Interaction: 600,
      RefreshToken: options.ttl?.refreshToken ?? 86400,
      Session: 86400,
    },
  });
  provider.use(async (context, next) => {
    await next();
    if (context.oidc?.route !== 'token' || context.status !== 200) return;
    const { access_token: access, id_token: id, refresh_token: refresh } = context.body;
    issued.push(...[access, id, refresh].filter(Boolean));
  });
  provider.on('server_error', (_, error) => process.stderr.write(`${error.stack}\n`));
  answer = provider.callback();
}

// The provider's own pages take whatever is typed for the account's id.
function browse(command) {
  const claims = accounts.get(command.account);
  if (!claims) throw new Error(`there is no account ${command.account}`);
  return visit(origin, { ...command, account: claims.sub });
}

function findAccount(_, id) {
  const found = [...accounts].find(([, claims]) => claims.sub === id);
  if (!found || disabled.has(found[0])) return undefined;
  return { accountId: id, claims: () => found[1] };
}

function client(id, algorithm = 'RS256') {
  return {
    client_id: id,
    client_name: id,
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    response_types: ['code'],
    // Of a native client on loopback any port will do (RFC 8252, section 7.3).
    redirect_uris: ['127.0.0.1', '[::1]'].flatMap((host) => [`http://${host}/callback`, `http://${host}/`]),
    id_token_signed_response_alg: algorithm,
  };
}

// A login as kubelogin does it: authorization code with PKCE.
async function tokens(command) {
  const { account, client: id = 'kubelogin', scope = 'openid email profile groups offline_access', resource } = command;
  const verifier = randomBytes(32).toString('base64url');
  const redirect = 'http://127.0.0.1:9/callback';
  const url = new URL('/auth', origin);
  url.search = new URLSearchParams({
    client_id: id,
    response_type: 'code',
    redirect_uri: redirect,
    scope,
    prompt: 'consent',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...(resource && { resource }),
  }).toString();
  const { location, page } = await browse({ url: url.href, account });
  const code = location && new URL(location).searchParams.get('code');
  if (!code) throw new Error(`no code: ${location ?? page}`);
  const body = new URLSearchParams({
    grant_type: 'authorization_code',
    client_id: id,
    code,
    redirect_uri: redirect,
    code_verifier: verifier,
    ...(resource && { resource }),
  });
  const answered = await fetch(new URL('/token', origin), { method: 'POST', body });
  const granted = await answered.json();
  if (!answered.ok) throw new Error(`no tokens: ${JSON.stringify(granted)}`);
  return granted;
}

function fresh() {
  const kid = randomBytes(8).toString('hex');
  const jwk = (pair, alg) => ({ ...pair.privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${kid}` });
  return [
    jwk(generateKeyPairSync('rsa', { modulusLength: 2048 }), 'RS256'),
    jwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'ES256'),
  ];
}

async function listen(on) {
  server.listen(on, '127.0.0.1');
  await once(server, 'listening');
}

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const command = JSON.parse(line);
    const act = Object.hasOwn(ACTS, command.do) && ACTS[command.do];
    if (!act) throw new Error(`there is no command ${command.do}`);
    say({ done: (await act(command)) ?? null });
  } catch (error) {
    say({ error: error.message });
  }
}
// Whoever started this is gone.
process.exit(0);
