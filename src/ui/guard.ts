/**
 * Access control of the server. It listens on the loopback interface only, but every page in a browser can send
 * requests there, so a request must name this server as its host (against DNS rebinding), come from the server's own
 * page if it has an origin, and carry a secret. The token of the printed address, in a header, allows everything; the
 * page keeps it in local storage, which only pages of this host and port can read. A cookie serves requests that
 * browsers send without headers, and allows reading only: cookies are not bound to a port, so browsers send it to every
 * server of this machine. The page and its script hold nothing secret and are served to everybody.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import { setCookie } from "hono/cookie";
import { problemAnswer } from "./answers.ts";

/** Policy of the page: nothing from other origins, nothing inline, no frame around it. */
const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** Policy of reports: sandboxed in an opaque origin, so that their script cannot use the cookie. */
export const REPORT_POLICY: string = [
  "sandbox allow-scripts allow-downloads",
  "default-src 'none'",
  "script-src 'unsafe-inline'",
  "style-src 'unsafe-inline'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const HEADERS: Readonly<Record<string, string>> = {
  "Cache-Control": "no-store",
  "Content-Security-Policy": PAGE_POLICY,
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
};

/** Random bytes in a token. */
const TOKEN_BYTES = 24;
/** Methods that a cookie allows. */
const READING: ReadonlySet<string> = new Set(["GET", "HEAD"]);

/** A random token of 192 bits. */
export function newToken(): string {
  return randomBytes(TOKEN_BYTES).toString("base64url");
}

/** Middleware of the server. */
export interface Guard {
  /** Refuses requests with another host or origin, and sets the security headers. */
  readonly everything: MiddlewareHandler;
  /** Refuses requests without the token, or for reading the cookie. */
  readonly secrets: MiddlewareHandler;
  /** Exchanges `?token=` for the cookie, and redirects to the page with the token in the fragment. */
  readonly entrance: MiddlewareHandler;
}

/** @param port - called for every request, since the port is known only after listening */
export function guardOf(token: string, port: () => number): Guard {
  const cookie = (): string => `gprune-${port()}`;
  const pass = newToken();
  const hasToken = (given: string | undefined): boolean => given !== undefined && equal(given, token);
  return {
    everything: async (c, next) => {
      for (const [name, value] of Object.entries(HEADERS)) c.header(name, value);
      const host = c.req.header("Host") ?? "";
      // Browsers leave out port 80.
      const suffixes = port() === 80 ? ["", ":80"] : [`:${port()}`];
      const hosts = suffixes.flatMap((suffix) => [`127.0.0.1${suffix}`, `localhost${suffix}`]);
      if (!hosts.includes(host)) return refusal(c, 421, `host: expected ${hosts[0]}, got another host`);
      const origin = c.req.header("Origin");
      if (origin !== undefined && origin !== `http://${host}`) {
        return refusal(c, 403, "origin: expected this server's page, got another origin");
      }
      return next();
    },
    secrets: async (c, next) => {
      const [, bearer] = /^Bearer (\S+)$/.exec(c.req.header("Authorization") ?? "") ?? [];
      if (hasToken(bearer)) return next();
      const isReading = READING.has(c.req.method);
      const given = cookiesOf(c.req.header("Cookie") ?? "", cookie());
      if (isReading && given.some((value) => equal(value, pass))) return next();
      return refusal(
        c,
        401,
        "token: expected the token in the address that gprune ui printed, got another or none",
      );
    },
    entrance: async (c, next) => {
      const given = c.req.query("token");
      if (given === undefined) return next();
      if (!hasToken(given)) return c.redirect("/", 303);
      setCookie(c, cookie(), pass, { httpOnly: true, sameSite: "Strict", path: "/" });
      return c.redirect(`/#token=${token}`, 303);
    },
  };
}

/** Values of all cookies of a name: other servers of this machine may have set some, too. */
function cookiesOf(header: string, name: string): readonly string[] {
  const pairs = header.split(";").map((pair) => pair.trim());
  return pairs.filter((pair) => pair.startsWith(`${name}=`)).map((pair) => pair.slice(name.length + 1));
}

/** Compares in constant time, whatever the lengths. */
function equal(a: string, b: string): boolean {
  const [first, second] = [a, b].map((text) => createHash("sha256").update(text).digest());
  return timingSafeEqual(first!, second!);
}

function refusal(c: Context, status: 401 | 403 | 421, message: string): Response {
  return problemAnswer(c, { code: "FORBIDDEN", message, hint: null }, status);
}
