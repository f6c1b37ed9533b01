/**
 * Run in a sidecar's container: sends requests to the API server with the token that is mounted there, and prints the answers.
 * The first argument is the list of requests, as JSON; in paths and bodies `POD_UID` stands for the uid of the pod.
 */
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';

export interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly body?: object;
}

export interface ApiAnswer {
  readonly status: number;
  /** What the API server says of a refusal. */
  readonly message: string | undefined;
}

const { POD_UID = '', WALSTORAGE_TOKEN_DIR: directory } = process.env;
const requests: readonly ApiRequest[] = JSON.parse((process.argv[1] ?? '').replaceAll('POD_UID', POD_UID));
const answers: ApiAnswer[] = [];
for (const one of requests) answers.push(await send(one));
process.stdout.write(JSON.stringify(answers));

function send({ method, path, body }: ApiRequest): Promise<ApiAnswer> {
  const { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port } = process.env;
  const authorization = `Bearer ${readFileSync(`${directory}/token`, 'utf8')}`;
  const headers = { authorization, 'content-type': 'application/apply-patch+yaml' };
  const ca = readFileSync(`${directory}/ca.crt`);
  return new Promise((resolve, reject) => {
    const asked = request({ hostname, port, ca, method, path, headers }, (response) => {
      void text(response).then((answer) => {
        const { message }: { message?: string } = JSON.parse(answer);
        resolve({ status: response.statusCode ?? 0, message });
      }, reject);
    });
    asked.on('error', reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
