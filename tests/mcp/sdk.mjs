// The two generations of the SDK of TypeScript behind one face, with a client that answers whatever a server asks of it.

import { Client as Modern, StreamableHTTPClientTransport as ModernTransport } from '@modelcontextprotocol/client';
import { InMemoryTaskMessageQueue, InMemoryTaskStore } from '@modelcontextprotocol/sdk/experimental/tasks';
import { Client as Legacy } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as LegacyTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import * as types from '@modelcontextprotocol/sdk/types.js';

const INFO = { name: 'portcullis-test-walk', version: '1.0.0' };
const CAPABILITIES = { elicitation: { form: {}, url: {} }, sampling: {}, roots: { listChanged: true } };
const TASKS = { requests: { sampling: { createMessage: {} }, elicitation: { create: {} } } };
const SAMPLED = {
  role: 'assistant',
  content: { type: 'text', text: 'an answer of the model' },
  model: 'test-model',
  stopReason: 'endTurn',
};
const ROOTS = { roots: [{ uri: 'file:///srv/work', name: 'work' }] };
const LIMIT = 20_000;

// A person who fills in what is asked for, and goes where a URL leads.
function elicited(params) {
  if (params.mode === 'url') return { action: 'accept' };
  const wanted = Object.entries(params.requestedSchema.properties);
  return { action: 'accept', content: Object.fromEntries(wanted.map(([name, schema]) => [name, filled(schema)])) };
}

function filled(schema) {
  if (schema.default !== undefined) return schema.default;
  const choice = schema.enum?.[0] ?? schema.oneOf?.[0]?.const;
  if (choice !== undefined) return choice;
  switch (schema.type) {
    case 'boolean':
      return true;
    case 'integer':
    case 'number':
      return schema.minimum ?? 1;
    case 'array':
      return [filled(schema.items ?? {})];
    default:
      return { email: 'tester@example.test', uri: 'https://example.test', date: '2026-01-01' }[schema.format] ?? 'words';
  }
}

// Connects: a client with its ways to call a tool, to hear notifications, and to leave.
export async function connect(generation, url, wire) {
  const heard = new Map();
  const hear = method => {
    if (!heard.has(method)) {
      let tell;
      heard.set(method, { told: new Promise(resolve => (tell = resolve)), tell });
    }
    return heard.get(method);
  };
  const options = { fetch: wire.fetch, requestInit: { headers: wire.headers } };
  const { client, transport, call, task } = generation === 1 ? legacy(url, options) : modern(url, options);
  client.fallbackNotificationHandler = async ({ method, params }) => {
    hear(method).tell();
    if (method === 'notifications/message' && /Roots updated/.test(params?.data)) hear('roots').tell();
  };
  await client.connect(transport);
  const soon = promise => Promise.race([promise, new Promise((_, late) => setTimeout(() => late(new Error('in vain')), LIMIT))]);
  return {
    client,
    call,
    task,
    modern: client.getNegotiatedProtocolVersion?.() === '2026-07-28',
    heard: method => soon(hear(method).told),
    // The reference server asks for roots a while after the beginning, beside whatever else there is.
    settled: () => (client.getServerVersion()?.name === 'mcp-servers/everything' ? soon(hear('roots').told) : undefined),
    async close() {
      await transport.terminateSession?.();
      await client.close();
    },
  };
}

function legacy(url, options) {
  const client = new Legacy(INFO, {
    capabilities: { ...CAPABILITIES, tasks: TASKS },
    taskStore: new InMemoryTaskStore(),
    taskMessageQueue: new InMemoryTaskMessageQueue(),
  });
  // As a task where that is asked for: there at once, and done.
  const answered = async (answer, { params }, extra) => {
    if (!params.task) return answer;
    const task = await extra.taskStore.createTask({ ttl: params.task.ttl, pollInterval: 50 });
    await extra.taskStore.storeTaskResult(task.taskId, 'completed', answer);
    return { task };
  };
  client.setRequestHandler(types.ElicitRequestSchema, (asked, extra) => answered(elicited(asked.params), asked, extra));
  client.setRequestHandler(types.CreateMessageRequestSchema, (asked, extra) => answered(SAMPLED, asked, extra));
  client.setRequestHandler(types.ListRootsRequestSchema, () => ROOTS);
  return {
    client,
    transport: new LegacyTransport(url, options),
    call: (name, args) => client.callTool({ name, arguments: args }, undefined, { onprogress() {} }),
    async task(name, args) {
      const params = { name, arguments: args };
      let last;
      for await (last of client.experimental.tasks.callToolStream(params, types.CallToolResultSchema, { task: { ttl: 60_000 } }));
      if (last.type === 'error') throw last.error;
      return last.result;
    },
  };
}

function modern(url, options) {
  const client = new Modern(INFO, { capabilities: CAPABILITIES, versionNegotiation: { mode: 'auto' } });
  client.setRequestHandler('elicitation/create', ({ params }) => elicited(params));
  client.setRequestHandler('sampling/createMessage', () => SAMPLED);
  client.setRequestHandler('roots/list', () => ROOTS);
  return {
    client,
    transport: new ModernTransport(url, options),
    call: (name, args) => client.callTool({ name, arguments: args }, { onprogress() {} }),
    task: () => Promise.reject(new Error('this generation has no tasks')),
  };
}
