import { writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { suiteDirectory } from "../../../test/directories.ts";
import { hubSettings } from "./settings.ts";

const home = suiteDirectory("hub-settings");
beforeAll(async () => {
  await writeFile(join(home(), "token"), "hf_stored\n");
  await writeFile(join(home(), "other"), "hf_other");
});

test("the defaults are those of huggingface_hub", async () => {
  expect(await hubSettings({ XDG_CACHE_HOME: "/nowhere", HF_HUB_OFFLINE: "" })).toEqual({
    endpoint: "https://huggingface.co",
    cacheDirectory: "/nowhere/huggingface/hub",
    token: undefined,
    offline: false,
  });
});

test("every variable counts, the more special one first", async () => {
  const cacheOf = async (environment: Record<string, string>): Promise<string> =>
    (await hubSettings({ HF_HOME: home(), ...environment })).cacheDirectory;
  expect(await cacheOf({ XDG_CACHE_HOME: "/x" })).toBe(join(home(), "hub"));
  expect(await cacheOf({ HUGGINGFACE_HUB_CACHE: "/old" })).toBe("/old");
  expect(await cacheOf({ HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "~/new" })).toBe(
    join(homedir(), "new"),
  );
  const tokenOf = async (environment: Record<string, string>): Promise<string | undefined> =>
    (await hubSettings({ HF_HOME: home(), ...environment })).token;
  expect(await tokenOf({})).toBe("hf_stored");
  expect(await tokenOf({ HF_TOKEN_PATH: join(home(), "other") })).toBe("hf_other");
  expect(await tokenOf({ HF_TOKEN_PATH: join(home(), "none") })).toBeUndefined();
  expect(await tokenOf({ HF_TOKEN: " hf_given\n" })).toBe("hf_given");
  for (const yes of ["1", "true", "YES", "On"]) {
    expect(await hubSettings({ HF_HOME: home(), HF_HUB_OFFLINE: yes })).toMatchObject({ offline: true });
  }
  const { endpoint, offline } = await hubSettings({ HF_ENDPOINT: "http://h/p/", HF_HUB_OFFLINE: "0" });
  expect([endpoint, offline]).toEqual(["http://h/p", false]);
});

test("a bad endpoint or token is refused without being shown", async () => {
  for (const HF_ENDPOINT of [
    "huggingface.co",
    "ftp://host",
    "https://user:secret@host",
    "https://host?secret",
  ]) {
    await expect(hubSettings({ HF_HOME: home(), HF_ENDPOINT })).rejects.toThrow(
      "HF_ENDPOINT: expected http(s)://HOST[/PATH], got another form",
    );
  }
  await expect(hubSettings({ HF_HOME: home(), HF_TOKEN: "sec\nret" })).rejects.toThrow(
    "HF_TOKEN: expected ASCII characters without spaces, got others",
  );
});
