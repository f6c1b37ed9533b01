/** The configuration as a person reads it: by section, each key's value, and whether it is the default. */
import type { Component } from '../assignment/assignment.ts';
import type { Configuration } from '../config/configuration.ts';
import {
  affinityKey,
  componentSections,
  legacyDirectoryKey,
  strategyKey,
  walKeys,
  walSection,
} from '../config/keys.ts';

export interface Setting {
  /** `storage.wal_config.linger_ms` */
  readonly keyPath: string;
  readonly value: string | number | boolean | readonly string[];
  readonly isDefault: boolean;
}

export interface SectionSettings {
  readonly component: Component;
  /** `storage.wal_config`, or `storage.wal_dir` where that legacy key names the WAL's directory. */
  readonly found: string;
  readonly settings: readonly Setting[];
}

/**
 * The sections that a configuration was read from.
 * @param written the key paths that stand in its file
 */
export function settingsOf(configuration: Configuration, written: ReadonlySet<string>): SectionSettings[] {
  return componentSections.flatMap(({ component, section, urlsKey }): SectionSettings[] => {
    const values = configuration.components.get(component);
    if (values === undefined) return [];
    const path = `storage.${section}`;
    const isLegacy = component === walSection.component && !written.has(`${path}.${urlsKey}`);
    const setting = (key: string, value: Setting['value']): Setting => {
      const keyPath = `${path}.${key}`;
      return { keyPath, value, isDefault: key !== urlsKey && !written.has(keyPath) };
    };
    const urls = values.urls.map(({ url }) => url);
    const settings = [
      setting(urlsKey, urls),
      setting(strategyKey, values.distributionStrategy),
      setting(affinityKey, values.collectionAffinity),
    ];
    if (component === walSection.component) {
      settings.push(...Object.entries(walKeys).map(([key, field]) => setting(key, configuration.wal[field])));
    }
    return [{ component, found: isLegacy ? `storage.${legacyDirectoryKey}` : path, settings }];
  });
}
