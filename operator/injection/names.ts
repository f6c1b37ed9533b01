/** The names that injection gives (docs and interfaces, sections 1 and 6): what bears them in a pod is ours. */
import { apiGroup, type WalStorage } from '../kubernetes.ts';

export const sidecarName = 'walstorage';
/** Every volume that we add begins so. */
export const volumePrefix = 'walstorage-';
export const configVolume = `${volumePrefix}config`;
export const socketVolume = `${volumePrefix}socket`;
export const tokenVolume = `${volumePrefix}token`;

/** On an injected pod: the restart hash of the spec that it was made from. */
export const injectedAnnotation = `${apiGroup}/injected`;
/** By users: the names of the database containers, joined by `,`. */
export const containersAnnotation = `${apiGroup}/containers`;

/** Of the sidecar: configuration, token and the Secrets lie below. */
export const ownDirectory = '/etc/walstorage';
export const configDirectory = `${ownDirectory}/config`;
/** Each Secret in a directory of its name. */
export const credentialsDirectory = `${ownDirectory}/credentials`;
/** Not below the socket's directory: there the database would see it. */
export const tokenDirectory = `${ownDirectory}/token`;
export const socketDirectory = '/run/walstorage';
export const socketPath = `${socketDirectory}/wal.sock`;
/** In the database containers. */
export const socketVariable = 'PROXIMADB_WAL_SOCKET';

/** Of the sidecar's port; Kubernetes allows 15 characters. */
export const portName = 'walstorage-http';
const defaultHttpPort = 9464;

export function httpPort({ spec }: WalStorage): number {
  return spec.sidecar?.httpPort ?? defaultHttpPort;
}
