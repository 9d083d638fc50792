/** Client of the page's server. */
import { useEffect, useState } from "preact/hooks";
import type { Problem, UiState } from "../src/ui/api.ts";
import type { RunSchema } from "./schema.ts";

/** Milliseconds before a connection that the browser has given up is opened again. */
const RETRY = 3000;
/** Key of the token in the address and in local storage, which all tabs of this host and port share. */
const TOKEN = "token";
/** Code of the problem that the server does not answer. */
const NO_ANSWER = "NETWORK";

/** State of the connection to the server, with the last state that it sent. */
export type Connection =
  | { readonly kind: "waiting" }
  | { readonly kind: "refused"; readonly problem: Problem }
  | { readonly kind: "open"; readonly state: UiState; readonly isLost: boolean };

/** Follows the server's state while the page is visible. */
export function useConnection(): Connection {
  const [connection, setConnection] = useState<Connection>({ kind: "waiting" });
  useEffect(() => followed(setConnection), []);
  return connection;
}

/** Reports the server's state. @returns a function that ends it */
function followed(tell: (next: (now: Connection) => Connection) => void): () => void {
  let source: EventSource | null = null;
  let retry: ReturnType<typeof setTimeout>;
  const open = (): void => {
    const opened = new EventSource("/api/events");
    source = opened;
    opened.addEventListener("state", (event: MessageEvent<string>) => {
      const state = JSON.parse(event.data) as UiState;
      tell(() => ({ kind: "open", state, isLost: false }));
    });
    opened.addEventListener("error", () => void lost(opened));
  };
  // The browser retries by itself unless it was refused or has given up.
  const lost = async (failed: EventSource): Promise<void> => {
    tell((now) => (now.kind === "open" ? { ...now, isLost: true } : now));
    if (failed.readyState !== EventSource.CLOSED) return;
    const { problem } = await asked<UiState>("/api/state");
    if (failed !== source) return;
    const isAway = problem?.code === NO_ANSWER;
    tell((now) => (problem === null || (isAway && now.kind === "open") ? now : { kind: "refused", problem }));
    if (problem === null || isAway) retry = setTimeout(open, RETRY);
  };
  const close = (): void => {
    clearTimeout(retry);
    source?.close();
    source = null;
  };
  // Browsers allow six connections per server over all tabs, so hidden tabs hold none.
  const follow = (): void => {
    close();
    if (document.visibilityState === "visible") open();
  };
  follow();
  document.addEventListener("visibilitychange", follow);
  return () => {
    document.removeEventListener("visibilitychange", follow);
    close();
  };
}

/** Sends a POST request. @returns why it was refused; null when it was accepted */
export async function post(path: string, body: unknown = {}): Promise<Problem | null> {
  const headers = { "Content-Type": "application/json" };
  return (await asked(path, { method: "POST", headers, body: JSON.stringify(body) })).problem;
}

/** Fetches the JSON Schema of a run configuration. */
export function schema(): Promise<Answer<RunSchema>> {
  return asked("/api/schema");
}

/** Value of a response, or the problem. */
export type Answer<T> =
  | { readonly value: T; readonly problem: null }
  | { readonly value: null; readonly problem: Problem };

/** Moves the token from the address, which has it after the first visit, to local storage. */
export function keepToken(): void {
  const token = new URLSearchParams(location.hash.slice(1)).get(TOKEN);
  if (token === null) return;
  localStorage.setItem(TOKEN, token);
  history.replaceState(null, "", "/");
}

async function asked<T>(path: string, init: RequestInit = {}): Promise<Answer<T>> {
  try {
    const headers = { ...init.headers, Authorization: `Bearer ${localStorage.getItem(TOKEN)}` };
    const response = await fetch(path, { ...init, headers });
    const value: unknown = await response.json();
    return response.ok ? { value: value as T, problem: null } : { value: null, problem: value as Problem };
  } catch {
    const message = "The server does not answer.";
    return { value: null, problem: { code: NO_ANSWER, message, hint: "Check that gprune ui is running." } };
  }
}
