/**
 * Faults of the file system for tests: short reads and writes, and disks that fill up. They patch the read and write
 * methods of this process while one function runs.
 */
import { constants, existsSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** A device that answers every write with ENOSPC. */
const FULL_DEVICE = "/dev/full";

/** Whether `withFullDisk` works here. */
export const CAN_FILL_DISK: boolean = existsSync(FULL_DEVICE);

/** Runs with reads and writes of at most `maxBytes` bytes per call. */
export async function withShortCalls<T>(maxBytes: number, run: () => Promise<T>): Promise<T> {
  return withPatched(
    ({ read, write }) => ({
      read(...[buffer, offset, length, position]) {
        return read.call(this, buffer, offset, Math.min(length, maxBytes), position);
      },
      write(...[buffer, offset, length, position]) {
        return write.call(this, buffer, offset, Math.min(length, maxBytes), position);
      },
    }),
    run,
  );
}

/** Runs with a disk that has room for `room` more bytes. */
export async function withFullDisk<T>(room: number, run: () => Promise<T>): Promise<T> {
  const full = await open(FULL_DEVICE, constants.O_WRONLY);
  let left = room;
  try {
    return await withPatched(
      ({ read, write }) => ({
        read,
        write(...[buffer, offset, length, position]) {
          if (left === 0) return write.call(full, buffer, offset, length, position);
          const written = Math.min(left, length);
          left -= written;
          return write.call(this, buffer, offset, written, position);
        },
      }),
      run,
    );
  } finally {
    await full.close();
  }
}

type Span = [buffer: Uint8Array, offset: number, length: number, position?: number];

/** The two methods through which src/io moves bytes. */
interface Transfers {
  read: (this: FileHandle, ...span: Span) => Promise<{ readonly bytesRead: number }>;
  write: (this: FileHandle, ...span: Span) => Promise<{ readonly bytesWritten: number }>;
}

async function withPatched<T>(patch: (original: Transfers) => Transfers, run: () => Promise<T>): Promise<T> {
  // Node does not export the class FileHandle.
  const handle = await open(process.execPath);
  const prototype: Transfers = Object.getPrototypeOf(handle);
  await handle.close();
  const { read, write } = prototype;
  Object.assign(prototype, patch({ read, write }));
  try {
    return await run();
  } finally {
    Object.assign(prototype, { read, write });
  }
}
