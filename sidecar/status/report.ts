/** What the sidecar tells of itself: the publisher's input, asked for about twice a second while all is quiet. */
import type { Component, UrlState } from '../assignment/assignment.ts';
import type { AddedUrl } from '../config/in-force.ts';

export interface StatusReport {
  /** The socket serves and at least one WAL URL is Available. */
  readonly ready: boolean;
  /** Of the configuration that is applied. */
  readonly configHash: string;
  /** Why the newest configuration is not in force; empty if it holds. */
  readonly configError: string;
  /** Collections with a log. */
  readonly collections: number;
  /** Encoded bytes of their live entries. */
  readonly bytes: number;
  readonly journalBytes: number;
  /** The WAL's URLs and then the other components', in the order of the configuration, those added since the start last; at most 160. */
  readonly urls: readonly UrlReport[];
  /** Where collections live, in a stable order; read only as far as there is room. */
  readonly assignments: Iterable<AssignmentReport>;
}

export interface UrlReport {
  /** As the configuration file writes it, so that the operator finds it in the spec. */
  readonly url: string;
  readonly state: UrlState;
  /** Why it isn't Available; else empty. */
  readonly reason: string;
  readonly collections: number;
  /** Segments; 0 but for the WAL. */
  readonly files: number;
  /** The WAL's: encoded bytes of live entries; others': bytes in the directories of collections. */
  readonly bytes: number;
  readonly journalBytes: number;
}

/** A URL of the newest configuration that waits for a restart, and why. */
export interface AddedUrlReport extends AddedUrl {
  readonly reason: string;
}

export interface AssignmentReport {
  readonly component: Component;
  readonly collection: string;
  readonly url: string;
}
