/** `GET /`: what the sidecar does, for people. One page without scripts and without anything from elsewhere. */
import { type Assignment, components } from '../assignment/assignment.ts';
import type { SidecarView, UrlView } from './view.ts';

const assignmentsShownMax = 100;
const refreshSeconds = 5;

/** The page's headers: nothing may be loaded, nothing may run. */
export const statusPageHeaders = {
  'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

const style = `
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 2rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
th { font-weight: 600; opacity: .75; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td { overflow-wrap: anywhere; }
.good { color: light-dark(#11703a, #62d493); }
.bad { color: light-dark(#b3261e, #ff8a80); font-weight: 600; }
.quiet { opacity: .75; }
code { font-size: .92em; }
`;

/** The page at `now`. */
export function statusPage(view: SidecarView, now: Date): string {
  const checks = view.readiness();
  const isReady = checks.every((check) => check.ok);
  const problems = [
    ...checks.filter((check) => !check.ok).map((check) => check.message),
    ...view
      .removedUrls()
      .map(({ component, url }) => `${url} (${component}) holds collections and is configured no longer.`),
    ...view.findings().map(({ finding }) => finding),
    ...(view.configError() === ''
      ? []
      : [`The new configuration is bad, and the old one in force: ${view.configError()}`]),
    ...view.pendingKeys().map((key) => `A new value of ${key} waits for a restart.`),
  ];
  const { connections, commands } = view.counters();
  const uptime = duration((now.getTime() - view.startedAt.getTime()) / 1000);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="${refreshSeconds}"><title>walstorage</title><style>${style}</style></head><body>
<h1>walstorage <span class="${isReady ? 'good' : 'bad'}">${isReady ? 'ready' : 'not ready'}</span></h1>
<p class="quiet">Version ${escape(view.version)}, up ${uptime}. Socket <code>${escape(view.socketPath)}</code>, ${connections} connections, ${commands} commands. Configuration <code>${escape(view.configurationFile)}</code>.</p>
${problems.length === 0 ? '' : `<h2>To look at</h2><ul>${problems.map((problem) => `<li>${escape(problem)}</li>`).join('')}</ul>`}
${components
  .map((component) =>
    urlTable(
      component,
      view.urls().filter((url) => url.component === component),
    ),
  )
  .join('')}
${assignmentTable(view)}
<p class="quiet">Also: ${links}</p>
</body></html>
`;
}

const links = ['/startupz', '/readyz', '/livez', '/metrics', '/v1/assignments', '/v1/urls', '/v1/config']
  .map((path) => `<a href="${path}">${path}</a>`)
  .join(' · ');

function urlTable(component: string, urls: readonly UrlView[]): string {
  if (urls.length === 0) return '';
  const numbers = ['Collections', 'Segments', 'Size', 'Unflushed', 'Journal'];
  const head =
    ['URL', 'State'].map((name) => `<th>${name}</th>`).join('') +
    numbers.map((name) => `<th class="number">${name}</th>`).join('');
  return `<h2>${component}</h2><table><tr>${head}</tr>${urls.map(urlRow).join('')}</table>`;
}

function urlRow({ url, state, reason, collections, files, bytes, memoryBytes, journalBytes }: UrlView): string {
  const why = reason === '' ? '' : `<br><span class="quiet">${escape(reason)}</span>`;
  const shown = `<span class="${state === 'Available' ? 'good' : 'bad'}">${state}</span>${why}`;
  const numbers = [collections, files, size(bytes), size(memoryBytes), size(journalBytes)];
  const cells = numbers.map((value) => `<td class="number">${value ?? ''}</td>`).join('');
  return `<tr><td><code>${escape(url)}</code></td><td>${shown}</td>${cells}</tr>`;
}

function assignmentTable(view: SidecarView): string {
  const shown: Assignment[] = [];
  let isMore = false;
  for (const component of components) {
    for (const assignment of view.assignments(component)) {
      isMore = shown.length === assignmentsShownMax;
      if (isMore) break;
      shown.push(assignment);
    }
  }
  if (shown.length === 0)
    return '<h2>Collections</h2><p class="quiet">None yet: the first append to a name creates it.</p>';
  const rows = shown.map(({ component, collection, url, assignedAt }) => {
    const cells = [component, collection, url, assignedAt].map((cell) => `<td>${escape(cell)}</td>`);
    return `<tr>${cells.join('')}</tr>`;
  });
  const more = isMore
    ? `<p class="quiet">The first ${assignmentsShownMax}; all: <a href="/v1/assignments">/v1/assignments</a>.</p>`
    : '';
  return `<h2>Collections</h2><table><tr><th>Component</th><th>Collection</th><th>URL</th><th>Assigned</th></tr>${rows.join('')}</table>${more}`;
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function size(bytes: number | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  if (bytes < 1024) return `${bytes} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(units.length, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** power).toFixed(2)} ${units[power - 1]}`;
}

function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 86_400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60];
  const first = parts.findIndex((part) => part > 0);
  if (first === -1) return '0 s';
  return parts
    .map((part, place) => `${part} ${['d', 'h', 'min', 's'][place]}`)
    .slice(first, first + 2)
    .join(' ');
}
