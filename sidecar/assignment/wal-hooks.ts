/** What the assignment service and the WAL engine, and whoever reports, tell each other. */
import type { ManagedUrl } from './assignment.ts';

/** What the service asks of the WAL engine. */
export interface WalHooks {
  /** Before a new collection's directory is made: waits until an earlier incarnation's is gone (E13). */
  beforeCreate(collection: string, managed: ManagedUrl): Promise<void>;
  /** `WAL.UNASSIGN wal`: INVALID while entries exist, else as `WAL.DROP`. False if there is none. Calls `dropped`. */
  remove(collection: string): Promise<boolean>;
  /** A call to the URL failed while a collection was being created there. */
  failed(managed: ManagedUrl, error: unknown): void;
  /** Encoded bytes of live entries under the URL. */
  bytes(managed: ManagedUrl): number;
  /** Whether the URL holds anything of a collection whose home is another (E23), or of one that is being deleted. */
  holdsOthers(managed: ManagedUrl): boolean;
}

/** A collection that discovery or recovery found. */
export interface Recorded {
  readonly collection: string;
  readonly managed: ManagedUrl;
  /** 32 hex digits. */
  readonly incarnation: string;
  /** RFC 3339, UTC. */
  readonly assignedAt: string;
  /** Its `_collection.json` is durable; false: `assign` makes it. */
  readonly saved: boolean;
  /** Why the collection cannot be used: every call for it gets DAMAGED with this sentence. */
  readonly damaged?: string;
}

/** What one URL holds. */
export interface UrlStatistics {
  readonly managed: ManagedUrl;
  /** Collections' directories. */
  readonly collections: number;
  /** wal: encoded bytes of live entries; others: bytes in the directories' files, at most about 30 s old. */
  readonly bytes: number;
}
