/** Makes a path ready to listen on: what may stand there already, and what is done about it. */
import { lstat, mkdir, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { systemCode } from '../errors.ts';

/** `sun_path` holds 108 bytes, the last one is NUL. */
const pathBytesMax = 107;

/**
 * Checks the path, makes its parent directory, removes a socket there that nobody answers.
 * Throws an Error for people when the path is too long, is no socket, or something listens there; it is untouched then.
 */
export async function prepareSocketPath(path: string): Promise<void> {
  const bytes = Buffer.byteLength(path);
  if (bytes > pathBytesMax) {
    throw new Error(
      `socket path ${path} has ${bytes} bytes; the system allows ${pathBytesMax}: choose a shorter one, or a relative one`,
    );
  }
  await makeParent(path);
  const found = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new Error(
      `socket path ${path} exists and is no socket: it was left alone; choose another path or move it away`,
    );
  }
  await removeUnanswered(path);
}

async function makeParent(path: string): Promise<void> {
  const parent = dirname(path);
  try {
    await mkdir(parent, { recursive: true });
  } catch (error) {
    throw new Error(`the directory ${parent} of socket path ${path} cannot be made: ${String(error)}`, {
      cause: error,
    });
  }
}

async function removeUnanswered(path: string): Promise<void> {
  const outcome = await tryConnect(path);
  if (outcome === undefined) {
    throw new Error(`something listens on socket path ${path} already: end it, or choose another path`);
  }
  // Gone meanwhile: whoever listened removed it.
  if (outcome === 'ENOENT') return;
  if (outcome !== 'ECONNREFUSED') {
    throw new Error(`socket path ${path} exists, and whether something listens there cannot be told (${outcome})`);
  }
  await unlink(path).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
}

/** Undefined when something accepts a connection, else the error's code. */
function tryConnect(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once('error', (error) => {
      socket.destroy();
      resolve(systemCode(error) ?? error.message);
    });
  });
}
