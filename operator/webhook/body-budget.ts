/**
 * R5: how much of the bodies of all requests is held at once. Anybody in the cluster may send them, so that a limit for
 * each alone is none: 512 connections with 4 MiB each are 2 GiB. When there is too much, the request that holds most is
 * cut off: reviews of real pods have a few kilobytes, and get their answers while others send megabytes.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

/** Two of the largest, or hundreds of the usual ones; what is decoded from them takes a multiple. */
const heldBytesMax = 8 * 1024 * 1024;

export class BodyBudget {
  readonly #held = new Map<IncomingMessage, number>();
  #heldBytes = 0;

  /** Counts what comes in, until it is answered or cut off. To be called before the first byte is read. */
  hold(request: IncomingMessage, response: ServerResponse): void {
    request.on('data', (chunk: Buffer) => this.#add(request, chunk.length));
    response.once('close', () => this.#release(request));
  }

  #add(request: IncomingMessage, bytes: number): void {
    if (request.socket.destroyed) return;
    this.#held.set(request, (this.#held.get(request) ?? 0) + bytes);
    this.#heldBytes += bytes;
    while (this.#heldBytes > heldBytesMax) {
      const [largest] = [...this.#held].reduce((a, b) => (b[1] > a[1] ? b : a));
      this.#release(largest);
      largest.socket.destroy();
    }
  }

  #release(request: IncomingMessage): void {
    this.#heldBytes -= this.#held.get(request) ?? 0;
    this.#held.delete(request);
  }
}
