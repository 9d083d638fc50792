/** `gprune ui` */
import { serveUi } from "../ui/server.ts";
import { EXIT_CODES, onSignals } from "./exit.ts";
import { print, say } from "./terminal.ts";
import { pruneStarter } from "./ui_process.ts";

interface UiOptions {
  readonly port: number;
}

/**
 * Serves until a signal comes. The first one stops the current run where it can be resumed, and then exits with 0, as
 * `gprune worker` does; a second one exits at once.
 */
export async function uiAction(directory: string, { port }: UiOptions): Promise<void> {
  const server = await serveUi({ directory, port, start: pruneStarter(process.argv[1]!) });
  let isLeaving = false;
  onSignals((signal) => {
    if (isLeaving) process.exit(EXIT_CODES[signal]);
    isLeaving = true;
    say("\nstopping; press Ctrl-C again to exit at once");
    void server.close().then(() => process.exit(0));
  });
  say("Only this machine can open the page, with this address. Press Ctrl-C to stop.");
  print(server.address);
}
