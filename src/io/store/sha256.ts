import { createHash } from "node:crypto";

/** SHA-256 of a text or of bytes, hexadecimal. */
export function sha256Hex(content: string | NodeJS.ArrayBufferView): string {
  return createHash("sha256").update(content).digest("hex");
}
