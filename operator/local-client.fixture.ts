/** A client of a server of the test's own, for the tests of operator/. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { KubeConfig } from '@kubernetes/client-node';
import { ApiClient, type Fence } from './client.ts';

/** Has the server listen on a free port, and makes a client of it. */
export async function clientOf(server: Server, fence?: Fence): Promise<ApiClient> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const config = new KubeConfig();
  config.loadFromClusterAndUser(
    { name: 'local', server: `http://127.0.0.1:${address.port}`, skipTLSVerify: true },
    { name: 'nobody' },
  );
  return new ApiClient(config, 'test', fence);
}
