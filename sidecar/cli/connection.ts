/** How the client commands of the CLI reach a running sidecar: node-redis over the Unix socket. */
import { createClient, type RedisArgument } from 'redis';

/** One command, its reply as RESP3 gives it, strings as buffers. */
export interface SidecarConnection {
  send(command: readonly RedisArgument[]): Promise<unknown>;
  close(): void;
}

/** Connects to the socket. Rejects with a sentence that names it when nothing answers. */
export async function connect(socketPath: string): Promise<SidecarConnection> {
  const client = createClient({
    RESP: 3,
    socket: { path: socketPath, reconnectStrategy: false },
    commandOptions: { typeMapping: { 36: Buffer } },
  });
  client.on('error', () => {
    // Every command under way rejects with it, too.
  });
  try {
    await client.connect();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`no sidecar answers on ${socketPath} (${reason}); start one, or name its socket with --socket`, {
      cause: error,
    });
  }
  return {
    send: async (command) => client.sendCommand([...command]),
    close: () => client.destroy(),
  };
}
