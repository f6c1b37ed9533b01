/** A ConfigMap or Secret as the kubelet mounts it: `<key>` → `..data/<key>`, and `..data` → the newest version's directory. */
import { mkdir, mkdtemp, readdir, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

/** Publishes new content, in the kubelet's order: the version's directory, `..data` by a rename, links, the old version. */
export async function publishMounted(mount: string, content: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(mount, { recursive: true });
  const data = join(mount, '..data');
  const old = await readlink(data).catch(() => undefined);
  const version = await mkdtemp(join(mount, '..2026_'));
  for (const [key, value] of Object.entries(content)) await writeFile(join(version, key), value);
  await symlink(basename(version), join(mount, '..data_tmp'));
  await rename(join(mount, '..data_tmp'), data);
  const links = (await readdir(mount)).filter((name) => !name.startsWith('..'));
  for (const key of Object.keys(content))
    if (!links.includes(key)) await symlink(join('..data', key), join(mount, key));
  for (const key of links) if (!Object.hasOwn(content, key)) await rm(join(mount, key));
  if (old !== undefined) await rm(join(mount, old), { recursive: true });
}
