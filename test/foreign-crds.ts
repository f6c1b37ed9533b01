/**
 * CRDs of the Prometheus operator and cert-manager, as far as the chart uses them: the fields it may set, with their types. The
 * API server refuses what is misplaced or misspelt.
 */
const string = { type: 'string' } as const;
const strings = { type: 'array', items: string } as const;
const labels = { type: 'object', additionalProperties: string } as const;

function object(properties: object, required: readonly string[] = []): object {
  return { type: 'object', properties, ...(required.length === 0 ? {} : { required }) };
}

function list(items: object): object {
  return { type: 'array', items };
}

const labelSelector = object({
  matchLabels: labels,
  matchExpressions: list(object({ key: string, operator: string, values: strings }, ['key', 'operator'])),
});

const issuerReference = object({ name: string, kind: string, group: string }, ['name']);

const rule = object({ alert: string, expr: string, for: string, labels, annotations: labels }, ['expr']);

const definitions = [
  {
    group: 'monitoring.coreos.com',
    kind: 'PodMonitor',
    spec: object(
      {
        selector: labelSelector,
        namespaceSelector: object({ any: { type: 'boolean' }, matchNames: strings }),
        podTargetLabels: strings,
        podMetricsEndpoints: list(object({ port: string, path: string, interval: string })),
      },
      ['selector', 'podMetricsEndpoints'],
    ),
  },
  {
    group: 'monitoring.coreos.com',
    kind: 'PrometheusRule',
    spec: object({ groups: list(object({ name: string, rules: list(rule) }, ['name', 'rules'])) }, ['groups']),
  },
  { group: 'cert-manager.io', kind: 'Issuer', spec: object({ selfSigned: object({}) }) },
  {
    group: 'cert-manager.io',
    kind: 'Certificate',
    spec: object(
      {
        secretName: string,
        dnsNames: strings,
        usages: list({ type: 'string', enum: ['digital signature', 'server auth', 'key encipherment'] }),
        privateKey: object({
          algorithm: { type: 'string', enum: ['RSA', 'ECDSA', 'Ed25519'] },
          size: { type: 'integer' },
          rotationPolicy: { type: 'string', enum: ['Never', 'Always'] },
        }),
        issuerRef: issuerReference,
      },
      ['secretName', 'issuerRef'],
    ),
  },
] as const;

/** The CustomResourceDefinitions. */
export const foreignCrds: readonly object[] = definitions.map(({ group, kind, spec }) => {
  const singular = kind.toLowerCase();

  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${singular}s.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { kind, plural: `${singular}s`, singular },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: object({ spec }, ['spec']) } }],
    },
  };
});
