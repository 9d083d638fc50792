/** Talks to the server that gave this page. */
import { useEffect, useState } from "preact/hooks";
import type { Problem, UiState } from "../src/ui/api.ts";
import type { RunSchema } from "./schema.ts";

/** Milliseconds until a connection that the browser gave up is opened again. */
const RETRY = 3000;
/** Name of the token in the address, and where it is kept: for all tabs of this host and port, and no others. */
const TOKEN = "token";
/** Code of the problem that there is no server. */
const NO_ANSWER = "NETWORK";

/** What the page knows of its server. */
export type Connection =
  | { readonly kind: "waiting" }
  | { readonly kind: "refused"; readonly problem: Problem }
  | { readonly kind: "open"; readonly state: UiState; readonly isLost: boolean };

/** Follows the server's state for as long as the page is open, and seen. */
export function useConnection(): Connection {
  const [connection, setConnection] = useState<Connection>({ kind: "waiting" });
  useEffect(() => followed(setConnection), []);
  return connection;
}

/** Tells of the server's state. @returns ends it */
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
  // A browser tries again by itself unless it was refused, or has given up.
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
  // A browser has six connections to a server for all of its tabs, so those that nobody sees hold none.
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

/** Asks for a change. @returns why it was refused; null when it was accepted */
export async function post(path: string, body: unknown = {}): Promise<Problem | null> {
  const headers = { "Content-Type": "application/json" };
  return (await asked(path, { method: "POST", headers, body: JSON.stringify(body) })).problem;
}

/** What a new run can be told. */
export function schema(): Promise<Answer<RunSchema>> {
  return asked("/api/schema");
}

/** What was asked for, or why there is none. */
export type Answer<T> =
  | { readonly value: T; readonly problem: null }
  | { readonly value: null; readonly problem: Problem };

/** Takes the token out of the address, which gave it to this page once. */
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
    return { value: null, problem: { code: NO_ANSWER, message, hint: "Is gprune ui still running?" } };
  }
}
