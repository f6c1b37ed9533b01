/** What we use of fs-native-extensions, which has no types of its own. */
declare module 'fs-native-extensions' {
  /** An exclusive lock on the whole file, held by the descriptor's open file; false if another open file has it. */
  export function tryLock(descriptor: number): boolean;
}
