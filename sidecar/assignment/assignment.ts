/** The words of the assignment service: components, assignments, URLs and their states. */
import type { Storage } from '../storage/storage.ts';

export const components = ['wal', 'viper', 'lsm', 'index', 'metadata'] as const;
export type Component = (typeof components)[number];

export const strategies = ['RoundRobin', 'Hash', 'LoadBalanced'] as const;
export type Strategy = (typeof strategies)[number];

/** Where a collection of a component lives. Never changes by itself (R4). */
export interface Assignment {
  readonly component: Component;
  readonly collection: string;
  readonly url: string;
  /** The full URL of the collection's directory. */
  readonly path: string;
  /** The URL's place in the component's list, from 0. */
  readonly index: number;
  /** RFC 3339, UTC. */
  readonly assignedAt: string;
  /** 32 hex digits. */
  readonly incarnation: string;
}

/** The states of the table in the design; `/v1/urls`, the status and a metric show them. */
export const urlStates = [
  'Available',
  'Recovering',
  'Stalled',
  'Full',
  'Unavailable',
  'Missing',
  'Pending',
  'Fenced',
] as const;
export type UrlState = (typeof urlStates)[number];

/** One configured URL of one component at run time. The engine (wal) or the assignment service sets the state. */
export interface ManagedUrl {
  readonly component: Component;
  readonly index: number;
  readonly url: string;
  /** Undefined where no storage can serve the scheme yet (object stores): such a URL is Unavailable. */
  readonly storage: Storage | undefined;
  state: UrlState;
  /** Why it is in that state: a sentence with the remedy; empty when Available. */
  reason: string;
  /** The stable id of `_url.json`, once known. */
  id: string | undefined;
}
