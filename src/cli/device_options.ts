/** `--device`, `--device-dtype` and `--require-device`, the same for every command that computes. */
import { Option } from "commander";
import { DEVICE_DTYPES, DEVICE_NAMES, type DeviceDtype, type DeviceName } from "../graph/runtime/device.ts";
import { choiceOption } from "./options.ts";

/** Options as commander gives them; those that were not given are absent. */
export interface DeviceOptions {
  readonly device?: DeviceName;
  readonly deviceDtype?: DeviceDtype;
  readonly requireDevice?: boolean;
}

export function deviceOptions(): readonly Option[] {
  return [
    choiceOption("--device <name>", "where to compute: cpu, webgpu or cuda (default: cpu)", DEVICE_NAMES),
    choiceOption(
      "--device-dtype <name>",
      "precision of products with weights on a device (default: f32)",
      DEVICE_DTYPES,
    ),
    new Option("--require-device", "fail if the device is missing, instead of using the CPU"),
  ];
}
