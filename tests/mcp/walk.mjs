// Walks through all that a server has, with the SDK of TypeScript, and prints everything that came of it as canonical JSON:
// every tool, resource, template, prompt and completion, what the server asks back, and what it says of its own accord.
//
//     node walk.mjs URL 1|2 [BEARER]
//
// `1` is `@modelcontextprotocol/sdk`, which speaks the legacy era; `2` is `@modelcontextprotocol/client`, which speaks the
// modern one where the server does.

import { steady, Wire } from './wire.mjs';
import { connect } from './sdk.mjs';

// What tools and the rest are to be called with; others are called with nothing.
const ARGUMENTS = {
  echo: { message: 'hello ✓' },
  'get-annotated-message': { messageType: 'error', includeImage: true },
  'get-resource-links': { count: 3 },
  'get-resource-reference': { resourceType: 'Blob', resourceId: 2 },
  'get-structured-content': { location: 'New York' },
  'get-sum': { a: 2, b: 3.5 },
  'gzip-file-as-resource': { name: 'x.gz', data: 'data:text/plain;base64,aGVsbG8=', outputType: 'resource' },
  'trigger-long-running-operation': { duration: 0.3, steps: 3 },
  'trigger-url-elicitation': { url: 'https://example.test/go', elicitationId: 'go-1' },
  'trigger-sampling-request': { prompt: 'say something', maxTokens: 10 },
  'trigger-sampling-request-async': { prompt: 'say something', maxTokens: 10 },
  'args-prompt': { city: 'Paris' },
  'completable-prompt': { department: 'Engineering', name: 'Alice' },
  'resource-prompt': { resourceType: 'Text', resourceId: '1' },
  test_prompt_with_arguments: { arg1: 'hello', arg2: 'world' },
  test_prompt_with_embedded_resource: { resourceUri: 'note://plain' },
};
const URIS = {
  'demo://resource/dynamic/text/{resourceId}': 'demo://resource/dynamic/text/1',
  'demo://resource/dynamic/blob/{resourceId}': 'demo://resource/dynamic/blob/2',
  'planted://{form}/{values}': 'planted://prose/',
  'note://by-name/{name}': 'note://by-name/one',
  'test://template/{id}/data': 'test://template/7/data',
};
const COMPLETIONS = [
  [{ type: 'ref/prompt', name: 'completable-prompt' }, { name: 'department', value: 'E' }],
  [{ type: 'ref/resource', uri: 'demo://resource/dynamic/text/{resourceId}' }, { name: 'resourceId', value: '1' }],
  [{ type: 'ref/prompt', name: 'weather' }, { name: 'city', value: 'pa' }],
];
// What would take a minute, or is a matter of its own.
const SKIPPED = new Set(['slow', 'test_reconnection', 'simulate-research-query']);

const [url, version, bearer] = process.argv.slice(2);
const wire = new Wire(bearer);
const steps = [];
const peer = await connect(Number(version), new URL(url), wire);
const { client } = peer;
await peer.settled();

async function step(name, call) {
  try {
    const got = await call();
    steps.push({ [name]: got });
    return got;
  } catch (error) {
    steps.push({ [name]: { error: { code: error.code ?? null, message: error.message, data: error.data ?? null } } });
    return {};
  }
}

steps.push({ capabilities: client.getServerCapabilities(), instructions: client.getInstructions() ?? null });
const { tools = [] } = await step('tools/list', () => client.listTools());
for (const { name } of tools) {
  if (!SKIPPED.has(name) && !(peer.modern && name.startsWith('test_'))) {
    await step(name, () => peer.call(name, ARGUMENTS[name] ?? {}));
  }
}
await step('resources/list', () => client.listResources());
const { resources = [] } = steps.at(-1)['resources/list'];
for (const { uri } of resources) await step(uri, () => client.readResource({ uri }));
const { resourceTemplates = [] } = await step('templates', () => client.listResourceTemplates());
for (const { uriTemplate } of resourceTemplates) {
  await step(uriTemplate, () => client.readResource({ uri: URIS[uriTemplate] ?? uriTemplate }));
}
const { prompts = [] } = await step('prompts/list', () => client.listPrompts());
for (const { name } of prompts) await step(name, () => client.getPrompt({ name, arguments: ARGUMENTS[name] }));
for (const [ref, argument] of COMPLETIONS) await step('complete', () => client.complete({ ref, argument }));
if (!peer.modern) {
  await step('ping', () => client.ping());
  await step('level', () => client.setLoggingLevel('debug'));
  await step('subscribe', () => client.subscribeResource({ uri: resources[0].uri }));
  if (tools.some(tool => tool.name === 'toggle-subscriber-updates')) {
    // The walk through all tools has switched both on; once more switches them off.
    await peer.heard('notifications/resources/updated');
    for (const name of ['toggle-subscriber-updates', 'toggle-simulated-logging']) await step(name, () => peer.call(name, {}));
  }
  await step('unsubscribe', () => client.unsubscribeResource({ uri: resources[0].uri }));
}
if (tools.some(tool => tool.name === 'simulate-research-query')) {
  wire.paused = true;
  await step('simulate-research-query', () => peer.task('simulate-research-query', { topic: 'weather', ambiguous: true }));
}
await peer.close();
// A pipe takes its time, and streams that are still open would keep the process for ever.
process.stdout.write(`${JSON.stringify(steady({ steps, wire: wire.transcript() }), null, 1)}\n`, () => process.exit(0));
