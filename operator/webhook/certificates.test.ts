import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type CertificateState,
  defaultLifetimes,
  expiryMs,
  type Generation,
  noData,
  type Pair,
  pairFlaw,
  plan,
  type SecretData,
  type Step,
  servingPair,
  withNext,
} from './certificates.ts';
import { issue } from './issue.ts';

const dayMs = 24 * 60 * 60_000;
const startMs = Date.parse('2026-11-25T12:00:00Z');
const names = ['walstorage-operator.system.svc', 'walstorage-operator.system.svc.cluster.local', '127.0.0.1'];
const settled = defaultLifetimes.settleMs;

const make = (now: number, forNames = names): Promise<Generation> => issue(forNames, now, defaultLifetimes);

function state(changes: Partial<CertificateState> = {}): CertificateState {
  return { data: noData, bundle: '', publishedMs: settled, names, ...changes };
}

/** As it is when all is quiet: served since `now`, and published. */
async function quiet(now: number): Promise<CertificateState> {
  const { pair, authority } = await make(now);
  const data = { ...noData, 'tls.crt': pair.certificate, 'tls.key': pair.key, 'ca.crt': authority.trim() };
  return state({ data, bundle: data['ca.crt'] });
}

function stepAt(now: number, changes: CertificateState): Step {
  return plan(changes, now, defaultLifetimes);
}

test('a generation: valid for its names only, for 90 days and an hour before; the Secret cannot sign another', async () => {
  const { pair, authority } = await make(startMs);
  const leaf = new X509Certificate(pair.certificate);
  const issuer = new X509Certificate(authority);
  assert.ok(leaf.checkIssued(issuer) && leaf.verify(issuer.publicKey));
  assert.deepEqual([issuer.ca, leaf.ca, pairFlaw(pair)], [true, false, undefined]);
  assert.deepEqual(
    [leaf.checkHost(String(names[0])), leaf.checkIP('127.0.0.1'), leaf.checkHost('other.system.svc')],
    [names[0], '127.0.0.1', undefined],
  );
  assert.equal(leaf.validFromDate.getTime(), startMs - defaultLifetimes.skewMs);
  assert.equal(expiryMs(pair), startMs + defaultLifetimes.validMs);
  assert.deepEqual(leaf.keyUsage, ['1.3.6.1.5.5.7.3.1']);
  assert.match(pairFlaw({ ...pair, key: (await make(startMs)).pair.key }) ?? '', /the key is not the certificate's/);
});

test('the first: issued, published, and served at once, as nobody is trusted before', async () => {
  const first = stepAt(startMs, state());
  assert.ok(first.step === 'issue');
  const data = withNext(first.base, await make(startMs));
  assert.deepEqual(servingPair(data), { certificate: '', key: '' });
  const second = stepAt(startMs, state({ data, publishedMs: 0 }));
  assert.ok(second.step === 'publish');
  const third = stepAt(startMs, state({ data, bundle: second.bundle, publishedMs: 0 }));
  assert.ok(third.step === 'promote');
  assert.equal(servingPair(third.data).certificate, data['next.crt']);
  const last = stepAt(startMs, state({ data: third.data, bundle: second.bundle }));
  assert.deepEqual(last, { step: 'wait', forMs: 60 * dayMs });
});

test('the next: published for a minute before it is served, and the old authority stays until it has expired', async () => {
  const before = await quiet(startMs);
  const now = startMs + 61 * dayMs;
  const first = stepAt(now, before);
  assert.ok(first.step === 'issue' && first.why === 'two thirds of its time are over');
  const data = withNext(first.base, await make(now));
  assert.equal(data['tls.crt'], before.data['tls.crt']);
  const second = stepAt(now, { ...before, data });
  assert.ok(second.step === 'publish' && second.bundle.includes(before.bundle));
  const waiting = stepAt(now, { ...before, data, bundle: second.bundle, publishedMs: settled - 1 });
  assert.deepEqual(waiting, { step: 'wait', forMs: 1 });
  const third = stepAt(now, { ...before, data, bundle: second.bundle, publishedMs: settled });
  assert.ok(third.step === 'promote');
  const after = { ...before, data: third.data, bundle: second.bundle };
  assert.equal(stepAt(startMs + 90 * dayMs, after).step, 'wait');
  const fourth = stepAt(startMs + 91 * dayMs, after);
  assert.ok(fourth.step === 'mend' && !fourth.data['ca.crt'].includes(before.bundle));
});

type Edit = (data: SecretData) => Partial<SecretData>;

const broken: readonly (readonly [string, Edit, RegExp])[] = [
  ['emptied', () => noData, /^there is none$/],
  ['without a key', () => ({ 'tls.key': '' }), /the certificate or its key is missing/],
  ['with a key that is none', () => ({ 'tls.key': 'secret' }), /^the key is no PEM$/],
  ['with a certificate that is none', () => ({ 'tls.crt': 'x' }), /^the certificate is no PEM$/],
];

for (const [what, edit, why] of broken) {
  test(`a Secret that is ${what}: a new generation; what replicas still serve stays trusted`, async () => {
    const before = await quiet(startMs);
    const step = stepAt(startMs, { ...before, data: { ...before.data, ...edit(before.data) } });
    assert.ok(step.step === 'issue');
    assert.match(step.why, why);
    assert.deepEqual([step.base['tls.crt'], step.base['ca.crt']], ['', before.bundle]);
  });
}

test('an authority that the Secret lost is taken from caBundle, and caBundle is mended from the Secret', async () => {
  const before = await quiet(startMs);
  const lost = stepAt(startMs, { ...before, data: { ...before.data, 'ca.crt': 'x' } });
  assert.ok(lost.step === 'mend' && lost.data['ca.crt'] === before.bundle);
  assert.deepEqual(stepAt(startMs, { ...before, bundle: '' }), { step: 'publish', bundle: before.bundle });
  assert.equal(stepAt(startMs, { ...before, bundle: `${before.bundle}\njunk\n` }).step, 'wait');
});

test('other names, an expired certificate, an authority that nobody has: a new generation', async () => {
  const before = await quiet(startMs);
  const reasons = [
    stepAt(startMs, { ...before, names: [...names, 'more.svc'] }),
    stepAt(startMs + 91 * dayMs, before),
    stepAt(startMs, { ...before, data: { ...before.data, 'ca.crt': '' }, bundle: '' }),
  ].map((step) => (step.step === 'issue' ? step.why : step.step));
  assert.deepEqual(reasons, [
    'the certificate is not valid for more.svc',
    'the certificate has expired',
    'the authority of the certificate is missing',
  ]);
});

test('R5 caBundle with many authorities of others: ours stay, the newest eight in all, and it comes to rest', async () => {
  const before = await quiet(startMs);
  const others = await Promise.all(Array.from({ length: 12 }, (_, day) => make(startMs + (day + 1) * 1000)));
  const bundle = [...others.map(({ authority }) => authority), before.bundle].join('\n');
  const trimmed = stepAt(startMs, { ...before, bundle });
  assert.ok(trimmed.step === 'mend');
  assert.equal(trimmed.data['ca.crt'].match(/BEGIN/g)?.length, 8);
  assert.ok(trimmed.data['ca.crt'].startsWith(before.bundle));
  const published = stepAt(startMs, { ...before, data: trimmed.data, bundle });
  assert.ok(published.step === 'publish');
  assert.equal(stepAt(startMs, { ...before, data: trimmed.data, bundle: published.bundle }).step, 'wait');
});

/** Leader, replicas and API servers in a time of their own; API servers see caBundle up to a minute late. */
class Cluster {
  now = startMs;
  data = noData;
  readonly generations = new Set<string>();
  readonly #bundles: { readonly sinceMs: number; readonly bundle: string }[] = [{ sinceMs: 0, bundle: '' }];
  readonly #served = new Map<number, Pair>();
  readonly #judged = new Map<string, boolean>();

  get #bundle(): { readonly sinceMs: number; readonly bundle: string } {
    return this.#bundles.at(-1) ?? { sinceMs: 0, bundle: '' };
  }

  /** One step of the leader. */
  async lead(): Promise<void> {
    const { bundle, sinceMs } = this.#bundle;
    const observed = { data: this.data, bundle, publishedMs: this.now - sinceMs, names };
    const step = plan(observed, this.now, defaultLifetimes);
    if (step.step === 'issue') this.data = withNext(step.base, await make(this.now));
    else if (step.step === 'publish') this.#bundles.push({ sinceMs: this.now, bundle: step.bundle });
    else if (step.step !== 'wait') this.data = step.data;
  }

  /** A replica looks into the Secret. */
  poll(replica: number): void {
    const pair = servingPair(this.data);
    if (pairFlaw(pair) !== undefined) return;
    this.#served.set(replica, pair);
    this.generations.add(pair.certificate);
  }

  /** Every API server that trusts anybody trusts every replica. */
  check(): void {
    for (const lagMs of [0, 20_000, settled - 1]) {
      const seen = this.#bundles.findLast(({ sinceMs }) => sinceMs <= this.now - lagMs)?.bundle ?? '';
      if (seen === '') continue;
      for (const [replica, pair] of this.#served) {
        const what = `replica ${replica} on ${new Date(this.now).toISOString()}`;
        assert.ok(this.#isSigned(pair, seen), `${what} is not trusted`);
        assert.ok((expiryMs(pair) ?? 0) > this.now, `${what} has expired`);
      }
    }
  }

  #isSigned({ certificate }: Pair, bundle: string): boolean {
    const key = certificate + bundle;
    const judged = this.#judged.get(key) ?? isSigned(new X509Certificate(certificate), bundle);
    this.#judged.set(key, judged);
    return judged;
  }
}

function isSigned(leaf: X509Certificate, bundle: string): boolean {
  return bundle
    .split(/(?<=-----END CERTIFICATE-----)/)
    .map((pem) => new X509Certificate(pem))
    .some((authority) => leaf.checkIssued(authority) && leaf.verify(authority.publicKey));
}

const edits: readonly Edit[] = [
  () => noData,
  () => ({ 'tls.key': 'x' }),
  () => ({ 'ca.crt': '' }),
  () => ({ 'next.crt': '', 'next.key': '' }),
  (data) => ({ 'tls.crt': data['next.crt'], 'tls.key': data['next.key'] === '' ? '' : 'x' }),
];

/** A short and a long stretch of time, in turns: how long they are, which replicas look, how often the leader acts, what somebody edits. */
const stretch = fc.record({
  shortMs: fc.integer({ min: 1, max: settled }),
  longMs: fc.integer({ min: dayMs, max: 3 * dayMs }),
  polls: fc.uniqueArray(fc.integer({ min: 0, max: 2 })),
  leads: fc.integer({ min: 0, max: 3 }),
  edit: fc.option(fc.constantFrom(...edits), { freq: 12 }),
});

test('through years, whoever acts when: every API server trusts every replica, also where the Secret is edited', async () => {
  const yearsMs = 2 * 365 * dayMs;
  let generations = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(stretch, { minLength: 50, maxLength: 50 }), async (stretches) => {
      const cluster = new Cluster();
      const seen = [startMs, startMs, startMs];
      let editedMs = startMs;
      for (let turn = 0; cluster.now < startMs + yearsMs; turn++) {
        const { shortMs, longMs, polls, leads, edit } = stretches[turn % stretches.length] ?? assert.fail();
        // A leader that acts now and then, and replicas that look once in a week.
        const isLate = turn % 3 === 0;
        for (let count = isLate ? Math.max(1, leads) : leads; count > 0; count--) {
          await cluster.lead();
          cluster.check();
        }
        for (const [replica, seenMs] of seen.entries()) {
          if (!polls.includes(replica) && cluster.now - seenMs < 7 * dayMs) continue;
          cluster.poll(replica);
          seen[replica] = cluster.now;
        }
        cluster.check();
        if (edit !== null && cluster.now - editedMs > 30 * dayMs) {
          cluster.data = { ...cluster.data, ...edit(cluster.data) };
          editedMs = cluster.now;
        }
        cluster.now += turn % 2 === 0 ? shortMs : longMs;
      }
      generations += cluster.generations.size;
    }),
    { numRuns: 3 },
  );
  assert.ok(generations >= 3 * 11, `${generations} generations were served`);
});
