/** Talks to the server that gave this page. */
import { useEffect, useState } from "preact/hooks";
import type { Problem, UiState } from "../src/ui/api.ts";
import type { RunSchema } from "./schema.ts";

/** What the page knows of its server. */
export type Connection =
  | { readonly kind: "waiting" }
  | { readonly kind: "refused"; readonly problem: Problem }
  | { readonly kind: "open"; readonly state: UiState; readonly isLost: boolean };

/** Follows the server's state for as long as the page is open. */
export function useConnection(): Connection {
  const [connection, setConnection] = useState<Connection>({ kind: "waiting" });
  useEffect(() => {
    const source = new EventSource("/api/events");
    source.addEventListener("state", (event: MessageEvent<string>) => {
      setConnection({ kind: "open", state: JSON.parse(event.data) as UiState, isLost: false });
    });
    source.addEventListener("error", () => {
      setConnection((now) => (now.kind === "open" ? { ...now, isLost: true } : now));
      if (source.readyState === EventSource.CLOSED) {
        void asked<UiState>("/api/state").then(({ problem }) => {
          if (problem !== null) setConnection({ kind: "refused", problem });
        });
      }
    });
    return () => source.close();
  }, []);
  return connection;
}

/** Asks for a change. @returns why it was refused; null when it was accepted */
export async function post(path: string, body: unknown = {}): Promise<Problem | null> {
  const headers = { "Content-Type": "application/json" };
  return (await asked(path, { method: "POST", headers, body: JSON.stringify(body) })).problem;
}

/** What a new run can be told. */
export async function schema(): Promise<RunSchema | null> {
  return (await asked<RunSchema>("/api/schema")).value;
}

type Answer<T> =
  | { readonly value: T; readonly problem: null }
  | { readonly value: null; readonly problem: Problem };

async function asked<T>(path: string, init: RequestInit = {}): Promise<Answer<T>> {
  try {
    const response = await fetch(path, init);
    const value: unknown = await response.json();
    return response.ok ? { value: value as T, problem: null } : { value: null, problem: value as Problem };
  } catch {
    const message = "The server does not answer.";
    return { value: null, problem: { code: "NETWORK", message, hint: "Is gprune ui still running?" } };
  }
}
