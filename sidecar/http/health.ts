/**
 * Health endpoints, for the sidecar and the operator alike: 200 when every check holds, else 503, with a JSON body of
 * every check: `{"status": "ok" | "failing", "checks": [{"name", "ok", "message"}]}`.
 */
import type { RequestHandler, Router } from 'express';

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** Why it does not hold, and the remedy; empty if there is nothing to say. */
  readonly message: string;
}

export interface HealthChecks {
  /** What must have happened once. */
  startup(): readonly Check[];
  /** What must hold to be of use now. */
  readiness(): readonly Check[];
}

/** Adds `/startupz`, `/readyz` and `/livez`, the last of which says only that the event loop turns. */
export function routeHealth(router: Pick<Router, 'get'>, checks: HealthChecks): void {
  router.get(
    '/startupz',
    answer(() => checks.startup()),
  );
  router.get(
    '/readyz',
    answer(() => checks.readiness()),
  );
  router.get(
    '/livez',
    answer(() => [{ name: 'event loop', ok: true, message: '' }]),
  );
}

function answer(checks: () => readonly Check[]): RequestHandler {
  return (_request, response) => {
    const found = checks();
    const isFine = found.every((check) => check.ok);
    response.status(isFine ? 200 : 503).set('cache-control', 'no-store');
    response.json({ status: isFine ? 'ok' : 'failing', checks: found });
  };
}
