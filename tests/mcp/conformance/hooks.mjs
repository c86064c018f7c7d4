// Module hooks: the suite's own `fs` is one that has what Node 22 has.
const suite = '/@modelcontextprotocol/conformance/';
const fs = new URL('./fs.mjs', import.meta.url).href;

export function resolve(specifier, context, next) {
  if (specifier === 'fs' && context.parentURL?.includes(suite)) return { url: fs, shortCircuit: true };
  return next(specifier, context);
}
