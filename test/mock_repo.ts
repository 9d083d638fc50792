/** Repositories and requests of the mock hub. */
import type { IncomingMessage } from "node:http";

/** A token that may read and write everything. */
export const TOKEN = "hf_mockToken";

export interface MockFile {
  readonly bytes: Uint8Array;
  /** Whether the file is in the LFS storage. */
  readonly lfs?: boolean;
}

export interface MockRepo {
  /** `models/ORG/NAME` or `datasets/ORG/NAME` */
  readonly name: string;
  readonly commit: string;
  readonly files: ReadonlyMap<string, MockFile>;
  /** Whether reading needs the token. */
  readonly gated?: boolean;
  readonly private?: boolean;
}

/** A request that a server has received. */
export interface Seen {
  readonly server: "hub" | "storage";
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}
