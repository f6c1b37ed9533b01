/**
 * What a test needs beyond what npm and Go can fetch: programs of apt, root, Python. Where it is missing the test is skipped
 * with the reason and the command to type; with `WALSTORAGE_TEST_ALL=1` it fails instead.
 */
import { existsSync } from 'node:fs';
import { type TestContext, type TestOptions, test } from 'node:test';
import { cached } from './cluster/cache.ts';
import { run } from './cluster/child.ts';

export interface Requirement {
  /** Resolves with a sentence that says what is missing and what to type; undefined: it is there. */
  readonly missing: () => Promise<string | undefined>;
}

const everythingIsRequired = (): boolean => process.env['WALSTORAGE_TEST_ALL'] === '1';

/** A test that runs only where all of `needs` are met. */
export function testNeeding(
  needs: readonly Requirement[],
  name: string,
  options: TestOptions,
  body: (t: TestContext) => Promise<void>,
): void {
  void test(name, options, async (t) => {
    for (const need of needs) {
      const missing = await need.missing();
      if (missing === undefined) continue;
      if (everythingIsRequired()) throw new Error(missing);
      t.skip(missing);
      return;
    }
    await body(t);
  });
}

/** A command that must succeed: it shows that the program is there and works. */
export function program(command: string, args: readonly string[], aptPackage: string): Requirement {
  return {
    missing: async () => {
      const works = await succeeds(command, args);
      return works
        ? undefined
        : `${command} is missing or does not work: apt-get install ${aptPackage}, or npm run test:all`;
    },
  };
}

/** Root who may mount: in a container that needs CAP_SYS_ADMIN. */
export const root: Requirement = {
  missing: async () => {
    const may = process.getuid?.() === 0 && (await succeeds('unshare', ['--mount', 'true']));
    return may ? undefined : 'root that may mount is needed: sudo -E env "PATH=$PATH" npm test';
  },
};

/** A file that an apt package brings. */
export function file(path: string, aptPackage: string): Requirement {
  return {
    missing: async () =>
      existsSync(path) ? undefined : `${path} is missing: apt-get install ${aptPackage}, or npm run test:all`,
  };
}

export interface PythonPackage extends Requirement {
  /** What `PYTHONPATH` must be to import it. Call it after `missing` has told that it is there. */
  readonly path: () => Promise<string>;
}

/**
 * A package of PyPI and others that it needs for the test (`name==version`), installed into the user's cache. Only a run that
 * requires everything fetches them: others use what is there.
 */
export function pythonPackage(name: string, version: string, ...others: readonly string[]): PythonPackage {
  const requirement = `${name}==${version}`;
  const directoryName = [requirement, ...others].join('-').replaceAll('==', '-');
  const install = async (directory: string): Promise<void> => {
    await run('python3', ['-m', 'pip', 'install', '--quiet', '--target', directory, requirement, ...others]);
  };
  const find = async (): Promise<string> => {
    const python = (await run('python3', ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'])).trim();
    const fetch = everythingIsRequired() ? install : noFetch;
    return cached(`python-${python}-${directoryName}`, fetch);
  };
  let found: Promise<string> | undefined;
  const path = (): Promise<string> => {
    found ??= find();
    return found;
  };
  return {
    path,
    missing: async () => {
      if (!(await succeeds('python3', ['-m', 'pip', '--version']))) {
        return 'python3 with pip is missing: apt-get install python3-pip, or npm run test:all';
      }
      try {
        await path();
        return undefined;
      } catch (error) {
        if (!(error instanceof NotFetched)) throw error;
        return `the Python package ${requirement} is not in the cache: npm run test:all`;
      }
    },
  };
}

class NotFetched extends Error {}

async function noFetch(): Promise<void> {
  throw new NotFetched();
}

async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return run(command, args).then(
    () => true,
    () => false,
  );
}
