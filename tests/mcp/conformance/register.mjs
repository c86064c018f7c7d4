// For `node --import`: lets the conformance suite run on Node 20, which has no `globSync` in `fs` yet. The suite imports
// it by name, so that it would not even begin; the scenarios for servers do not call it.
import { register } from 'node:module';

register('./hooks.mjs', import.meta.url);
