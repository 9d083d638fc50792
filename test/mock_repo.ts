/** What the hub on loopback holds and hears. */
import type { IncomingMessage } from "node:http";

/** The token of somebody who may read and write everything. */
export const TOKEN = "hf_mockToken";

export interface MockFile {
  readonly bytes: Uint8Array;
  /** Whether the bytes lie in the storage. */
  readonly lfs?: boolean;
}

export interface MockRepo {
  /** `models/ORG/NAME` or `datasets/ORG/NAME` */
  readonly name: string;
  readonly commit: string;
  readonly files: ReadonlyMap<string, MockFile>;
  /** Whether only the token may read it. */
  readonly gated?: boolean;
  readonly private?: boolean;
}

/** One request as a server saw it. */
export interface Seen {
  readonly server: "hub" | "storage";
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}
