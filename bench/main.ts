/**
 * `npm run bench`: all benches, or those that are named: `npm run bench -- operator`. Exit status 1 when a bar is missed,
 * 2 when there is no such bench. Figures mean something only in one run of this and on a machine that does nothing else.
 */
import { benchAppends } from './appends.ts';
import { benchOperator } from './operator.ts';
import { benchWebhook } from './webhook.ts';

const benches: Readonly<Record<string, () => Promise<boolean>>> = {
  appends: benchAppends,
  operator: benchOperator,
  webhook: benchWebhook,
};

const named = process.argv.slice(2);
const unknown = named.find((name) => !Object.hasOwn(benches, name));
if (unknown === undefined) {
  const chosen = named.length === 0 ? Object.keys(benches) : named;
  let areReached = true;
  for (const name of chosen) areReached = ((await benches[name]?.()) ?? false) && areReached;
  process.exitCode = areReached ? 0 : 1;
} else {
  process.stderr.write(
    `bench: there is no ${unknown}: name none for all, or some of ${Object.keys(benches).join(', ')}\n`,
  );
  process.exitCode = 2;
}
