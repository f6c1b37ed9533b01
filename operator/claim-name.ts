import { hashOf } from '../sidecar/config/hash.ts';

/** The API server takes no longer name of an object. */
const nameLengthMax = 253;

/**
 * The name of the claim that a pod gets for a claimTemplate (O2): `<pod>-<volume>-<8 hex digits of the SHA-256 of
 * storage/volume/pod>`. The hash keeps apart what the dashes don't (pod `db-0` with volume `a-b`, pod `db-0-a` with
 * volume `b`) and two WalStorages whose volumes bear one name. A pod's name that would make it too long is cut; the
 * hash is of the whole.
 * @param volumeName as the WalStorage has it
 */
export function claimName(storageName: string, volumeName: string, podName: string): string {
  const hash = hashOf(`${storageName}/${volumeName}/${podName}`).slice(0, 8);
  const end = `-${volumeName}-${hash}`;
  // A label of the name may not begin with '-', so that the cut may not leave a '.' before ours.
  const begin = podName.slice(0, nameLengthMax - end.length).replace(/[-.]+$/, '');
  return `${begin}${end}`;
}
