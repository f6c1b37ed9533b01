/** How long recovery waits for a URL that does nothing more. */
const noProgressMs = 30_000;

/** What `work` resolves with; rejects when it neither ends nor calls `onProgress` for 30 s: its storage hangs. */
export async function withProgress<In, Out>(
  work: (url: In, onProgress: () => void) => Promise<Out>,
  url: In,
): Promise<Out> {
  let timer: NodeJS.Timeout | undefined;
  const stalled = new Promise<never>((_resolve, reject) => {
    const fail = (): void => reject(new Error(`no progress for ${noProgressMs / 1000} s`));
    timer = setTimeout(fail, noProgressMs).unref();
  });
  try {
    return await Promise.race([work(url, () => timer?.refresh()), stalled]);
  } finally {
    clearTimeout(timer);
  }
}
