/**
 * What the API server was asked, by whom and when: its audit log. Of Leases it holds the objects too, of all else only
 * who did what to which object, and the answer's status.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A request that has been answered; of a watch also its beginning. As the API server writes it; only what is read here. */
export interface AuditEvent {
  readonly stage: 'ResponseStarted' | 'ResponseComplete' | 'Panic';
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly userAgent?: string;
  readonly objectRef?: {
    readonly resource: string;
    readonly subresource?: string;
    readonly apiGroup?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code?: number };
  /** When the API server had its head: RFC 3339 with microseconds. */
  readonly requestReceivedTimestamp: string;
  /** When the answer was complete. */
  readonly stageTimestamp: string;
  /** Of Leases. */
  readonly responseObject?: unknown;
}

const logFile = 'audit.log';

const policy = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [
    { level: 'RequestResponse', resources: [{ group: 'coordination.k8s.io', resources: ['leases'] }] },
    { level: 'Metadata' },
  ],
};

/** Writes the policy into the control plane's directory. Returns the flags of the API server. */
export async function auditFlags(directory: string): Promise<Readonly<Record<string, string>>> {
  const policyFile = 'audit-policy.json';
  await writeFile(join(directory, policyFile), JSON.stringify(policy));
  // Not rotated in any test: in megabytes.
  return { 'audit-policy-file': policyFile, 'audit-log-path': logFile, 'audit-log-maxsize': '4000' };
}

/** All that has been logged up to now, in the order of the log, which is that of the answers. */
export async function readAuditLog(directory: string): Promise<AuditEvent[]> {
  const text = await readFile(join(directory, logFile), 'utf8');
  // The last piece is empty, or a line that is being written.
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line));
}
