/** Finds the device that a command computes on, and says when it is not the requested one. */
import { type DeviceFound, fallbackText, findDevice } from "../graph/runtime/device_check.ts";
import type { DeviceOptions } from "./device_options.ts";
import { say } from "./terminal.ts";

/** Finds the device to compute on; warns on stderr when it is not the requested one. */
export async function findDeviceFor({
  device = "cpu",
  deviceDtype = "f32",
  requireDevice = false,
}: DeviceOptions): Promise<DeviceFound> {
  const found = await findDevice({ device, deviceDtype, requireDevice });
  sayFallback(found);
  return found;
}

/** Warns on stderr when the device is not the requested one. */
export function sayFallback(found: DeviceFound): void {
  const text = fallbackText(found);
  if (text !== null) say(`warning: ${text}`);
}
