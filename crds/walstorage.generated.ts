/** Made by `npm run generate` from walstorage.yaml: change that file, not this one. */
import type {V1ObjectMeta} from '@kubernetes/client-node';

/**
 * Where the write-ahead logs of the pods that bear the label wal.proximadb.io/storage with this name live, and what they hold.
 */
export interface WalStorage {
  apiVersion: 'wal.proximadb.io/v1alpha1';
  kind: 'WalStorage';
  metadata: V1ObjectMeta;
  spec: WalStorageSpec;
  status?: WalStorageStatus;
}
/**
 * What is wanted.
 */
export interface WalStorageSpec {
  /**
   * The volumes under which the file:// URLs lie. Each becomes a mount of the sidecar (and, where other components than the WAL use it, of the database containers).
   */
  volumes?: Volume[];
  wal: WalSpec;
  viper?: ComponentSpec;
  lsm?: ComponentSpec;
  index?: ComponentSpec;
  metadata?: ComponentSpec;
  /**
   * What happens when a change needs a restart. OnDelete: it is reported, and pods take it when they are next replaced. Restart: outdated pods are evicted one at a time.
   */
  rollout?: 'OnDelete' | 'Restart';
  /**
   * Accepts that the log of a pod without a stable name (of a Deployment or Job) isn't found again by another pod.
   */
  ephemeralPods?: boolean;
  sidecar?: SidecarSpec;
}
export interface Volume {
  /**
   * Names the volume within this WalStorage. A DNS label of at most 40 characters.
   */
  name: string;
  /**
   * Where the volume is mounted, in the sidecar and the database containers alike. Absolute.
   */
  mountPath: string;
  /**
   * A volume that the pod already has, for example the database's own claim: recommended.
   */
  podVolume?: {
    /**
     * The volume's name in the pod (of its volumes or its StatefulSet's volumeClaimTemplates).
     */
    name: string;
    /**
     * A directory inside the volume; the whole volume by default.
     */
    subPath?: string;
  };
  /**
   * One claim a pod, made by the operator and kept when the pod or this WalStorage is deleted. It can't be changed, but for a growing size.
   */
  claimTemplate?: {
    /**
     * ReadWriteOnce by default. A network file system under WAL URLs needs ReadWriteOncePod.
     */
    accessModes?: ('ReadWriteOnce' | 'ReadWriteOncePod' | 'ReadWriteMany')[];
    /**
     * The cluster's default class where absent.
     */
    storageClassName?: string;
    resources: {
      requests: {
        /**
         * The size of each claim.
         */
        storage: number | string;
      };
    };
  };
  /**
   * A claim that exists, shared by the pods; each gets its own directory in it.
   */
  persistentVolumeClaim?: {
    /**
     * The claim's name.
     */
    claimName: string;
    /**
     * A directory inside the volume; the whole volume by default.
     */
    subPath?: string;
  };
  /**
   * A directory of the node; each pod gets its own directory in it. Its log stays on that node.
   */
  hostPath?: {
    /**
     * The directory on the node. Absolute.
     */
    path: string;
    /**
     * What must be at the path, as in a pod's hostPath.
     */
    type?: '' | 'Directory' | 'DirectoryOrCreate';
  };
  /**
   * A volume that lives and dies with the pod: what was acknowledged is lost with it (condition DurabilityLimited).
   */
  emptyDir?: {
    /**
     * '' for the node's disk, Memory for memory.
     */
    medium?: '' | 'Memory';
    /**
     * The most it may hold.
     */
    sizeLimit?: number | string;
  };
}
/**
 * The write-ahead logs themselves.
 */
export interface WalSpec {
  /**
   * Where collections live. A collection is assigned to one URL at first use and stays there.
   */
  urls: UrlSpec[];
  /**
   * How new collections are spread over the URLs. LoadBalanced by default.
   */
  distributionStrategy?: 'RoundRobin' | 'Hash' | 'LoadBalanced';
  /**
   * true (the default): a collection lives under one URL for life. false: it may move on at each flush.
   */
  collectionAffinity?: boolean;
  /**
   * Per collection; at this size its unflushed entries become a segment. 1Mi by default (2Mi when all URLs are object stores).
   */
  memoryFlushSize?: number | string;
  /**
   * Over all collections, the hard bound on unflushed bytes. 512Mi by default; at least 128Mi and twice memoryFlushSize.
   */
  globalFlushThreshold?: number | string;
  /**
   * Always (the default): acknowledged means durable. Periodic: synced every syncIntervalMs. Never: left to the system.
   */
  syncMode?: 'Always' | 'Periodic' | 'Never';
  /**
   * With syncMode Periodic; milliseconds, 1000 by default.
   */
  syncIntervalMs?: number;
  /**
   * Object stores: a batch leaves at the latest so many milliseconds after its first entry; 50 by default.
   */
  lingerMs?: number;
  /**
   * Of segments; none by default.
   */
  compression?: 'none' | 'deflate' | 'zstd';
}
export interface UrlSpec {
  /**
   * file:///abs/path, s3://bucket/prefix, gcs://bucket/prefix (or gs://), adls://account.dfs.core.windows.net/container/path (or adls://account/container/path, abfs[s]://container@account.dfs.core.windows.net/path). ${POD_NAME} and ${POD_NAMESPACE} expand in the pod.
   */
  url: string;
  /**
   * A Secret in this namespace, mounted into the sidecar, never copied. Without it the SDK's own default chain is used (workload identity, environment).
   */
  credentialsSecretRef?: {
    /**
     * The Secret's name.
     */
    name: string;
  };
  /**
   * Options of the object store's SDK. Never secrets.
   */
  options?: {
    /**
     * For stores other than the cloud's own, for example http://minio:9000.
     */
    endpoint?: string;
    /**
     * For example us-west-2.
     */
    region?: string;
    /**
     * Bucket in the path instead of the host name, as MinIO wants it.
     */
    forcePathStyle?: boolean;
  };
}
/**
 * Directories of another component of the database, given out by the same assignment service.
 */
export interface ComponentSpec {
  /**
   * Where collections live. A collection is assigned to one URL at first use and stays there.
   */
  urls: UrlSpec[];
  /**
   * How new collections are spread over the URLs. LoadBalanced by default.
   */
  distributionStrategy?: 'RoundRobin' | 'Hash' | 'LoadBalanced';
  /**
   * true (the default): a collection lives under one URL for life. false: it may move on at each flush.
   */
  collectionAffinity?: boolean;
}
/**
 * The sidecar container. All optional.
 */
export interface SidecarSpec {
  /**
   * The operator's own image by default.
   */
  image?: string;
  /**
   * As of any container.
   */
  resources?: {
    limits?: {
      [k: string]: number | string;
    };
    requests?: {
      [k: string]: number | string;
    };
  };
  /**
   * info by default.
   */
  logLevel?: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';
  /**
   * Of health, metrics and the status page; 9464 by default.
   */
  httpPort?: number;
}
/**
 * What is. pods[name] is written by that pod's sidecar, the rest by the operator.
 */
export interface WalStorageStatus {
  /**
   * The generation that the operator has seen.
   */
  observedGeneration?: number;
  /**
   * Ready, ConfigRendered, Degraded, DurabilityLimited.
   */
  conditions?: StatusCondition[];
  /**
   * The ConfigMap with the rendered walstorage.toml.
   */
  configMap?: string;
  /**
   * Of the newest rendered configuration.
   */
  configHash?: string;
  /**
   * In force for the WAL.
   */
  distributionStrategy?: string;
  /**
   * WAL URLs.
   */
  urlCount?: number;
  /**
   * Pods that bear the label.
   */
  podCount?: number;
  /**
   * Pods whose sidecar is ready.
   */
  readyPods?: number;
  /**
   * Pods that report configHash.
   */
  updatedPods?: number;
  /**
   * Over all pods.
   */
  collections?: number;
  /**
   * Encoded bytes of the live entries, unflushed included, each counted once, over all pods.
   */
  bytes?: number;
  /**
   * bytes, for people.
   */
  size?: string;
  /**
   * By URL as the spec writes it: sums over pods.
   */
  urls?: UrlTotal[];
  /**
   * One entry a pod, written by its sidecar alone.
   */
  pods?: PodStatus[];
}
export interface StatusCondition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  observedGeneration?: number;
  lastTransitionTime: string;
  reason: string;
  message: string;
}
export interface UrlTotal {
  url: string;
  /**
   * Collections under it.
   */
  collections: number;
  /**
   * Encoded bytes of their live entries.
   */
  bytes: number;
  /**
   * Pods in which it is Available.
   */
  available: number;
}
export interface PodStatus {
  /**
   * The pod's name.
   */
  name: string;
  /**
   * The pod's uid.
   */
  uid?: string;
  /**
   * The socket serves and at least one WAL URL is Available.
   */
  ready?: boolean;
  /**
   * Of the configuration that is in force in the sidecar as a whole; empty where none is.
   */
  configHash?: string;
  /**
   * Why the newest configuration is not in force; absent where it holds.
   */
  configError?: string;
  /**
   * Collections with a log.
   */
  collections?: number;
  /**
   * Encoded bytes of the live entries.
   */
  bytes?: number;
  /**
   * Size of the journals.
   */
  journalBytes?: number;
  lastReportTime?: string;
  /**
   * The WAL's URLs, then the other components'.
   */
  urls?: PodUrlStatus[];
  /**
   * Where collections live, as many as the entry's budget of bytes holds.
   */
  assignments?: PodAssignment[];
  /**
   * More assignments exist than are shown.
   */
  assignmentsTruncated?: boolean;
}
export interface PodUrlStatus {
  /**
   * As the rendered configuration writes it.
   */
  url: string;
  state: 'Available' | 'Recovering' | 'Stalled' | 'Full' | 'Unavailable' | 'Missing' | 'Pending' | 'Fenced';
  /**
   * Why it isn't Available, and what to do.
   */
  reason?: string;
  collections?: number;
  /**
   * Segments.
   */
  files?: number;
  bytes?: number;
  journalBytes?: number;
}
export interface PodAssignment {
  component: 'wal' | 'viper' | 'lsm' | 'index' | 'metadata';
  collection: string;
  url: string;
}
