/** Reads one table of the TOML document: values of the form asked for, or a problem in the report and undefined. */
import { closest, namesSecret, nearMiss, pathOfKey, type Report, shorten } from './problem.ts';

export type TomlTable = Readonly<Record<string, unknown>>;

/** Whether a TOML value is a table (not an array, not a date). */
export function isTable(value: unknown): value is TomlTable {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

export class TableReader {
  readonly table: TomlTable;
  /** The key path of the table. */
  readonly path: string;
  readonly #report: Report;

  constructor(table: TomlTable, path: string, report: Report) {
    this.table = table;
    this.path = path;
    this.#report = report;
  }

  has(key: string): boolean {
    return Object.hasOwn(this.table, key);
  }

  keyPath(key: string): string {
    return pathOfKey(this.path, key);
  }

  /** Adds a problem about a key's value. */
  refuse(key: string, problem: string, remedy: string): undefined {
    this.#report.problems.push({ keyPath: this.keyPath(key), value: shorten(this.table[key]), problem, remedy });
    return undefined;
  }

  /** Adds a problem about a key whose value may be a secret: it is not shown. */
  refuseHidden(key: string, problem: string, remedy: string): undefined {
    this.#report.problems.push({ keyPath: this.keyPath(key), value: '***', problem, remedy });
    return undefined;
  }

  /** Adds a warning about a key's value. */
  warn(key: string, problem: string, remedy: string): undefined {
    this.#report.warnings.push({ keyPath: this.keyPath(key), value: shorten(this.table[key]), problem, remedy });
    return undefined;
  }

  /** The table below, if there is one. */
  child(key: string): TableReader | undefined {
    if (!this.has(key)) return undefined;
    const value = this.table[key];
    if (isTable(value)) return new TableReader(value, this.keyPath(key), this.#report);
    return this.refuse(key, 'must be a table', `write [${this.keyPath(key)}] and its keys below`);
  }

  boolean(key: string): boolean | undefined {
    if (!this.has(key)) return undefined;
    const value = this.table[key];
    if (typeof value === 'boolean') return value;
    return this.refuse(key, 'must be a boolean', `write ${key} = true or ${key} = false`);
  }

  /** The integer (the document is parsed with bigints, so that 1.0 and 1 differ) within the bounds, both included. */
  integer(key: string, bounds: { min: number; max: number; unit: string }): number | undefined {
    if (!this.has(key)) return undefined;
    const value = this.table[key];
    if (typeof value !== 'bigint') {
      return this.refuse(
        key,
        `must be an integer, in ${bounds.unit}`,
        `write ${key} = ${bounds.min} or more, unquoted`,
      );
    }
    if (value < BigInt(bounds.min)) {
      return this.refuse(key, `must be at least ${bounds.min} ${bounds.unit}`, `write ${key} = ${bounds.min} or more`);
    }
    if (value > BigInt(bounds.max)) {
      return this.refuse(key, `must be at most ${bounds.max} ${bounds.unit}`, `write ${key} = ${bounds.max} or less`);
    }
    return Number(value);
  }

  choice<Choice extends string>(key: string, choices: readonly Choice[]): Choice | undefined {
    if (!this.has(key)) return undefined;
    const value = this.table[key];
    const found = choices.find((choice) => choice === value);
    if (found !== undefined) return found;
    const near = typeof value === 'string' ? choices.find((choice) => sameWord(choice, value)) : undefined;
    return this.refuse(
      key,
      `must be one of ${choices.map((choice) => `"${choice}"`).join(', ')}`,
      near === undefined ? `write ${key} = "${choices[0]}", or another of them` : `did you mean "${near}"?`,
    );
  }

  /** Reports the keys that are not `known`, as problems or, where the file may be newer than we are, as warnings. */
  unknownKeys(known: readonly string[], options: UnknownKeyOptions): void {
    for (const key of Object.keys(this.table)) {
      if (!known.includes(key)) this.#unknownKey(key, known, options);
    }
  }

  #unknownKey(key: string, known: readonly string[], { newerFile, valuesHidden }: UnknownKeyOptions): void {
    if (namesSecret(key) && nearMiss(key, known) === undefined) {
      this.refuseHidden(key, 'looks like an inline secret', secretRemedy);
      return;
    }
    const near = resembling(key, known);
    const list = newerFile ? this.#report.warnings : this.#report.problems;
    list.push({
      keyPath: this.keyPath(key),
      value: valuesHidden ? '***' : shorten(this.table[key]),
      problem: newerFile ? 'is a key that this version does not know, so it is ignored' : 'is an unknown key',
      remedy: near === undefined ? `remove it; the keys here are ${known.join(', ')}` : `did you mean ${near}?`,
    });
  }
}

export interface UnknownKeyOptions {
  /** The file may come from a newer operator: unknown keys only warn. */
  readonly newerFile: boolean;
  /** Values may be secrets whatever their keys are called. */
  readonly valuesHidden: boolean;
}

const secretRemedy =
  'remove it; put secrets into files (in a pod: a mounted Secret) and name their directory as credentials_dir in url_options';

/** The known key that was probably meant: a misspelt one, or one that is part of the key or the key part of it. */
function resembling(key: string, known: readonly string[]): string | undefined {
  const near = nearMiss(key, known);
  if (near !== undefined || key.length < 4) return near;
  return (
    known.find((name) => name.includes(key) || key.includes(name)) ?? closest(key, known, Math.floor(key.length / 3))
  );
}

function sameWord(choice: string, value: string): boolean {
  return choice.toLowerCase() === value.trim().toLowerCase() || nearMiss(value, [choice]) !== undefined;
}
