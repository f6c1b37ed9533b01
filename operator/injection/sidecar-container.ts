/**
 * The sidecar's container (O3, O4).
 *
 * Here and in volumes.ts some fields have the value that the API server would give them: it asks a second time with a pod
 * that has its defaults, and then there is nothing to change.
 */
import { configKey } from '../desired.ts';
import type { WalStorage } from '../kubernetes.ts';
import { resourcesOf } from './memory.ts';
import { configDirectory, httpPort, portName, sidecarName, socketPath, tokenDirectory } from './names.ts';
import { type Places, placed } from './placed.ts';
import type { AdmittedPod, Container, ContainerSecurityContext, EnvVar, Probe } from './pod.ts';
import { mountPlaces, sidecarMounts, volumesOf } from './volumes.ts';

/** Recovery may take long: the database must not start before, and a restart would only begin it again. */
const startupBudgetSeconds = 24 * 60 * 60;
/** The database starts at most so long after the sidecar is ready. */
const startupPeriodSeconds = 1;
const probeTimeoutSeconds = 5;

export interface SidecarInput {
  readonly pod: AdmittedPod;
  readonly storage: WalStorage;
  /** The first database container: the sidecar runs as its user. */
  readonly database: Container | undefined;
  /** The image where the WalStorage names none. */
  readonly image: string;
  /** The container that an earlier injection made, with what others have added to it since. */
  readonly found: Container | undefined;
}

/**
 * The container. Of one that was injected before, what we don't set stays as others left it: admission plugins add mounts
 * (the ServiceAccount's), limits (LimitRange) and a pull policy (AlwaysPullImages), and refuse a pod that lacks them.
 */
export function sidecarContainer({ pod, storage, database, image, found }: SidecarInput): Container {
  const port = httpPort(storage);
  const resources = resourcesOf(storage);
  return {
    ...found,
    name: sidecarName,
    image: storage.spec.sidecar?.image ?? image,
    args: ['sidecar'],
    restartPolicy: 'Always',
    env: placed(found?.env ?? [], environment(storage, port), variables),
    ports: [{ name: portName, containerPort: port, protocol: 'TCP' }],
    resources: {
      ...found?.resources,
      limits: { ...found?.resources?.limits, ...resources.limits },
      requests: { ...found?.resources?.requests, ...resources.requests },
    },
    startupProbe: probe('/startupz', port, startupPeriodSeconds, startupBudgetSeconds / startupPeriodSeconds),
    readinessProbe: probe('/readyz', port, 5, 3),
    // A minute without an answer: the event loop is stuck, and only a restart helps.
    livenessProbe: probe('/livez', port, 10, 6),
    securityContext: { ...found?.securityContext, ...securityContext(pod, database) },
    terminationMessagePolicy: 'FallbackToLogsOnError',
    volumeMounts: placed(found?.volumeMounts ?? [], sidecarMounts(storage), mountPlaces),
  };
}

function probe(path: string, port: number, periodSeconds: number, failureThreshold: number): Probe {
  const httpGet = { path, port, scheme: 'HTTP' };
  return { httpGet, periodSeconds, timeoutSeconds: probeTimeoutSeconds, successThreshold: 1, failureThreshold };
}

function environment(storage: WalStorage, port: number): EnvVar[] {
  const volumes = volumesOf(storage);
  const exclusive = volumes.filter(({ claimTemplate }) => claimTemplate?.accessModes?.includes('ReadWriteOncePod'));
  const { logLevel } = storage.spec.sidecar ?? {};
  return [
    variable('WALSTORAGE_NAME', storage.metadata.name),
    ofPod('POD_NAME', 'metadata.name'),
    ofPod('POD_NAMESPACE', 'metadata.namespace'),
    ofPod('POD_UID', 'metadata.uid'),
    variable('WALSTORAGE_CONFIG', `${configDirectory}/${configKey}`),
    variable('WALSTORAGE_SOCKET', socketPath),
    variable('WALSTORAGE_HTTP', `:${port}`),
    variable('WALSTORAGE_TOKEN_DIR', tokenDirectory),
    variable('WALSTORAGE_MOUNTS', volumes.map(({ mountPath }) => mountPath).join(':')),
    ...(exclusive.length === 0
      ? []
      : [variable('WALSTORAGE_EXCLUSIVE_MOUNTS', exclusive.map(({ mountPath }) => mountPath).join(':'))]),
    ...(logLevel === undefined ? [] : [variable('WALSTORAGE_LOG_LEVEL', logLevel)]),
  ];
}

/** The value is meant literally: the kubelet would expand `$(NAME)`. */
function variable(name: string, value: string): EnvVar {
  return value === '' ? { name } : { name, value: value.replaceAll('$', () => '$$') };
}

function ofPod(name: string, fieldPath: string): EnvVar {
  return { name, valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } } };
}

const variables: Places<EnvVar> = {
  keyOf: ({ name }) => name,
  isOurs: ({ name }) => name.startsWith('WALSTORAGE_'),
};

/** Passes restricted Pod Security, unless the database itself runs as root. */
function securityContext(pod: AdmittedPod, database: Container | undefined): ContainerSecurityContext {
  const { user, group } = identityOf(pod, database);
  return {
    ...(user === undefined ? {} : { runAsUser: user }),
    ...(group === undefined ? {} : { runAsGroup: group }),
    runAsNonRoot: user !== 0,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  };
}

/** As whom a container runs: its own word goes before the pod's; undefined where its image says so. */
export function identityOf(
  { spec }: AdmittedPod,
  container: Container | undefined,
): { readonly user: number | undefined; readonly group: number | undefined } {
  return {
    user: container?.securityContext?.runAsUser ?? spec.securityContext?.runAsUser,
    group: container?.securityContext?.runAsGroup ?? spec.securityContext?.runAsGroup,
  };
}
