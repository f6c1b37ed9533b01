/** The package has no types of its own. */
declare module 'fs-native-extensions' {
  /** Takes an exclusive lock on the open file, waiting for it. The kernel releases it when the file is closed. */
  export function waitForLock(fd: number): Promise<void>;
}
