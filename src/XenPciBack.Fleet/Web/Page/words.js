// How things are said and marked, in one place. A state is never told by colour alone: each has a mark and a word.

import { h } from "./view.js";

/** Colour, mark and meaning of what a guest, a device or a host can be. */
export const tones = {
  good: { mark: "●", means: "works: connected, live" },
  busy: { mark: "◐", means: "on its way: connecting, reconfiguring, closing, recovering; a device that does not answer" },
  idle: { mark: "○", means: "not connected" },
  bad: { mark: "✕", means: "killed: the guest was crashed because its device was lost" },
  kept: { mark: "◆", means: "in quarantine: no guest gets it until it is cleared" },
  lost: { mark: "◌", means: "lost: the host is not heard of; what is shown is its last state" },
};

const stateTones = { connected: "good", closed: "idle", unknown: "idle" };

export const toneOf = state => stateTones[state] ?? "busy";

/** "initWait" as "InitWait", the word of xenbus.h. */
export const stateName = state => state.charAt(0).toUpperCase() + state.slice(1);

export const badge = (tone, text) => h("span", { class: `badge ${tone}` }, h("span", { class: "mark", "aria-hidden": "true" }, tones[tone].mark), text);

/** Kinds of incidents: title, tone. */
export const kinds = {
  deviceError: ["Device error", "busy"],
  deviceSlow: ["Slow device", "busy"],
  recovered: ["Recovered", "good"],
  guestKilled: ["Guest killed", "bad"],
  quarantined: ["Quarantine", "kept"],
  restarted: ["Restarted", "busy"],
  adopted: ["Adopted", "good"],
  misbehaved: ["Misbehaved", "busy"],
  abandoned: ["Abandoned", "bad"],
};

export const kindOf = kind => kinds[kind] ?? [stateName(kind), "idle"];

export const rate = value => value === 0 ? "0" : value < 10 ? value.toFixed(1) : grouped(Math.round(value));

export const grouped = value => String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");

/** Microseconds. */
export function latency(value) {
  if (value < 10) return `${value.toFixed(1)} µs`;
  if (value < 1000) return `${Math.round(value)} µs`;
  if (value < 1e6) return `${(value / 1000).toFixed(value < 1e4 ? 1 : 0)} ms`;
  return `${(value / 1e6).toFixed(1)} s`;
}

export function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds % 86400 / 3600)} h`;
}

const two = n => String(n).padStart(2, "0");

/** The viewer's time of day; with the date unless that is today's. */
export function clock(at, now) {
  const time = new Date(at), today = new Date(now);
  const day = time.toDateString() === today.toDateString() ? "" : `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} `;
  return `${day}${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

export const moment = (at, text) => h("time", { datetime: at, title: at }, text);

/** The device's class as the PCI Code and ID Assignment Specification has it, as far as a host has such things to give. */
function className(code) {
  return subclasses[code >> 8 & 0xffff] ?? classes[code >> 16 & 0xff] ?? `class ${hex(code, 6)}`;
}

const classes = {
  0x00: "Unclassified device", 0x01: "Storage controller", 0x02: "Network controller", 0x03: "Display controller", 0x04: "Multimedia controller", 0x05: "Memory controller",
  0x06: "Bridge", 0x07: "Communication controller", 0x08: "System peripheral", 0x09: "Input device", 0x0b: "Processor", 0x0c: "Serial bus controller",
  0x0d: "Wireless controller", 0x10: "Encryption controller", 0x11: "Signal processing controller", 0x12: "Processing accelerator", 0xff: "Unassigned class",
};

const subclasses = {
  0x0100: "SCSI controller", 0x0101: "IDE controller", 0x0104: "RAID controller", 0x0106: "SATA controller", 0x0107: "SAS controller", 0x0108: "NVMe controller",
  0x0200: "Ethernet controller", 0x0207: "InfiniBand controller", 0x0300: "VGA controller", 0x0302: "3D controller", 0x0401: "Audio controller", 0x0403: "Audio device",
  0x0600: "Host bridge", 0x0601: "ISA bridge", 0x0604: "PCI bridge", 0x0700: "Serial controller", 0x0880: "System peripheral", 0x0c03: "USB controller",
  0x0c04: "Fibre Channel controller", 0x0c05: "SMBus controller", 0x0280: "Network controller", 0x0d11: "Bluetooth controller",
};

export const hex = (value, digits) => value.toString(16).padStart(digits, "0");

/** "Ethernet controller [8086:10d3]"; of a device whose guest has been ended for it nothing is known any more. */
export const nature = device => device.vendorId === 0 ? "not in use any more" : `${className(device.classCode)} [${ids(device)}]`;

const ids = device => `${hex(device.vendorId, 4)}:${hex(device.deviceId, 4)}`;

/** What is amiss with a device; null if nothing is. */
export const troubleOf = device => device.unansweredSeconds ? `no answer for ${Math.round(device.unansweredSeconds)} s` : device.isRecovering ? "recovering" : null;

export const interrupts = device => device.vectors > 0 ? `${device.interrupts} × ${device.vectors}` : device.interrupts === "none" ? "no interrupt" : device.interrupts;

export const isNamed = guest => Boolean(guest.name?.trim());

export const guestName = guest => isNamed(guest) ? guest.name : `domain ${guest.domain}`;

export const plural = (count, word) => `${grouped(count)} ${word}${count === 1 ? "" : "s"}`;
