/** Addresses of queue servers: their forms, and how messages show them. */

/** The forms of addresses. */
export const SERVER_ADDRESSES = "redis://HOST[:PORT][/DB] or postgres://[USER@]HOST[:PORT]/DATABASE";

/** The server that an address names by its protocol; null for any other text. */
export function serverKind(address: string): "Redis" | "PostgreSQL" | null {
  const protocol = URL.canParse(address) ? new URL(address).protocol : "";
  if (/^rediss?:$/.test(protocol)) return "Redis";
  return /^postgres(ql)?:$/.test(protocol) ? "PostgreSQL" : null;
}

/** An address without user, password and query, which may hold a password as well. */
export function withoutSecrets(address: string): string {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (url !== null && url.host !== "") return `${url.protocol}//${url.host}${url.pathname}`;
  // A password with a slash in it makes the URL invalid, and hides where the password begins and ends.
  return /[@?]/.test(address) ? `${/^[a-z]+:\/\//i.exec(address)?.[0] ?? ""}...` : address;
}
