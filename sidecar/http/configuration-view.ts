/** `GET /v1/config`: what is in force, under the keys of the file. Credentials never stand in it (R7): the parser refuses them. */

import type { Configuration } from '../config/configuration.ts';
import {
  affinityKey,
  componentSections,
  renderedByKey,
  strategyKey,
  urlOptionKeys,
  urlOptionsKey,
  walKeys,
} from '../config/keys.ts';

/** The configuration as the file would say it, with the defaults filled in and URLs expanded. */
export function configurationView({ components, renderedBy, urlOptions, wal }: Configuration) {
  const sections = componentSections.flatMap(({ component, section, urlsKey }) => {
    const configured = components.get(component);
    if (configured === undefined) return [];
    const { collectionAffinity, distributionStrategy, urls } = configured;
    const common = {
      [urlsKey]: urls.map(({ url }) => url),
      [strategyKey]: distributionStrategy,
      [affinityKey]: collectionAffinity,
    };
    const own = Object.entries(walKeys).map(([key, field]) => [key, wal[field]] as const);
    return [[section, component === 'wal' ? { ...common, ...Object.fromEntries(own) } : common] as const];
  });
  const options = Array.from(urlOptions, ([url, values]) => {
    const entries = Object.entries(urlOptionKeys).map(([key, field]) => [key, values[field]] as const);
    return [url, Object.fromEntries(entries)] as const;
  });
  const storage = { ...Object.fromEntries(sections), [urlOptionsKey]: Object.fromEntries(options) };
  return renderedBy === undefined ? { storage } : { [renderedByKey]: renderedBy, storage };
}
