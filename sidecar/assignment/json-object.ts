/** A stored JSON object as its reader first sees it: keys, and values of any kind. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The object that the bytes hold, or undefined when they are no JSON object. */
export function parseJsonObject(content: Buffer): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(content.toString());
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a parsed value is an object with keys. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
