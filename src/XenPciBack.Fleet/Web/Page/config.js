// A device's config space as its guest reads it, byte by byte and register by register. What is not simply the device's is coloured and has its rule beside it.

import { h } from "./view.js";
import { isUp } from "./fleet.js";
import { hex } from "./words.js";

const narrow = matchMedia("(max-width: 640px)");

/** What was read last: `{ of, view, error, at }`. Reading asks the device itself, so it is only done when a viewer wants it. */
let reading = { of: null };

async function read(of, address, act) {
  reading = { of, isBusy: true, view: reading.of === of ? reading.view : undefined };
  let next;
  try {
    const response = await fetch(address);
    const answer = await response.json();
    next = response.ok ? { of, view: spaceOf(answer) } : { of, error: answer.error };
  } catch {
    next = { of, error: "the server does not answer" };
  }
  if (reading.of === of) act(() => { reading = next; });
}

/** Whatever a host has sent: a register is where there are bytes. */
function spaceOf(answer) {
  const guest = bytes(answer.guest), device = bytes(answer.device);
  return { guest, device, fields: answer.fields.filter(field => field.size > 0 && field.offset >= 0 && field.offset + field.size <= Math.min(guest.length, device.length)) };
}

const bytes = text => Uint8Array.from(text.match(/../g) ?? [], pair => parseInt(pair, 16));

export function configSpace(entry, guest, ui, act) {
  if (guest.devices.length === 0) return null;
  const { host } = entry;
  const device = guest.devices.find(device => device.device === ui.device) ?? guest.devices[0];
  const of = `${host}/${guest.domain}/${device.device}`;
  const address = `/api/hosts/${encodeURIComponent(host)}/guests/${guest.domain}/devices/${device.device}/config`;
  if (reading.of !== of && isUp(entry)) read(of, address, act);
  const { view, error, isBusy } = reading.of === of ? reading : {};
  return h("section", { class: "config", "aria-labelledby": "config-title" },
    h("h2", { id: "config-title" }, "Config space", h("span", { class: "quiet" }, ` of ${device.device}, as the guest reads it`)),
    h("div", { class: "bar-of-tools" },
      guest.devices.length > 1 && guest.devices.map(one => h("button", { key: one.device, class: "button mono", type: "button", "aria-pressed": String(one === device), onclick: () => act(ui => { ui.device = one.device; ui.field = null; }) }, one.device)),
      h("button", { key: "again", class: "button", type: "button", "aria-busy": isBusy ? "true" : null, disabled: !isUp(entry), onclick: () => act(() => { read(of, address, act); }) }, isBusy ? "Reading" : "Read again"),
      h("label", { key: "all" }, h("input", { type: "checkbox", onchange: event => act(ui => { ui.allFields = event.target.checked; }) }), " all registers")),
    error ? h("p", { class: "empty", role: "alert" }, `It cannot be shown: ${error}.`) : view ? shown(view, ui, act) : h("p", { class: "empty" }, isUp(entry) ? "Reading." : "It cannot be read while the host is not heard of."));
}

function shown(view, ui, act) {
  const at = new Map(view.fields.flatMap(field => Array.from({ length: field.size }, (_, i) => [field.offset + i, field])));
  const chosen = view.fields.find(field => field.offset === ui.field) ?? null;
  const choose = (field, focus) => act(ui => { ui.field = field.offset; if (focus) ui.focus = "field"; });
  const differs = view.fields.filter(field => field.rule !== null);
  return h("div", { class: "space" },
    h("div", { class: "left" },
      h("p", { class: "legend" },
        h("span", {}, h("i", { class: "swatch own" }), "the device's register"),
        h("span", {}, h("i", { class: "swatch ruled" }), "virtualised"),
        h("span", {}, h("i", { class: "swatch ruled differs" }), "reads otherwise than the device's")),
      grid(view, at, chosen, choose),
      h("p", { class: "chosen", role: "status" }, chosen ? told(view, chosen) : "Choose a register to see what it is.")),
    h("div", { class: "right" }, table(view, ui.allFields ? view.fields : differs, chosen, choose, ui.allFields ? "Registers" : "Virtualised registers")));
}

const value = (data, field) => field.size <= 4
  ? hex(data.slice(field.offset, field.offset + field.size).reduceRight((sum, byte) => sum * 256 + byte, 0), field.size * 2)
  : [...data.slice(field.offset, field.offset + Math.min(field.size, 16))].map(byte => hex(byte, 2)).join(" ") + (field.size > 16 ? " …" : "");

const place = field => `${hex(field.offset, 3)}/${field.size}`;

const told = (view, field) => `${place(field)} ${field.name}: reads ${value(view.guest, field)}${value(view.guest, field) === value(view.device, field) ? "" : `, the device has ${value(view.device, field)}`}${field.rule ? `; ${field.rule}` : ""}`;

function grid(view, at, chosen, choose) {
  const width = narrow.matches ? 8 : 16;
  const tabbable = chosen ?? view.fields[0];
  const rows = [];
  for (let start = 0; start < view.guest.length; start += width) rows.push(start);
  const isEmpty = start => Array.from({ length: width }, (_, i) => start + i).every(offset => !at.has(offset) && view.guest[offset] === 0 && view.device[offset] === 0);
  const lines = [];
  for (let i = 0; i < rows.length; i++) {
    let end = i;
    while (end < rows.length && isEmpty(rows[end])) end++;
    if (end - i > 1) {
      lines.push(h("li", { key: rows[i], class: "hexrow" }, h("span", { class: "offset" }, hex(rows[i], 3)), h("span", { class: "gap" }, `to ${hex(rows[end - 1] + width - 1, 3)} all zero`)));
      i = end - 1;
    } else {
      lines.push(h("li", { key: rows[i], class: "hexrow" }, h("span", { class: "offset" }, hex(rows[i], 3)), segments(view, at, rows[i], width, chosen, tabbable, choose)));
    }
  }
  return h("ol", { class: "hex", id: "hex", "aria-label": "Bytes; each button is a register", onkeydown: event => onKey(event, view.fields, width, choose) }, lines);
}

/** A row of bytes, those of one register together. */
function segments(view, at, start, width, chosen, tabbable, choose) {
  const parts = [];
  for (let offset = start; offset < start + width;) {
    const field = at.get(offset);
    let end = offset + 1;
    while (end < start + width && at.get(end) === field) end++;
    const cells = Array.from({ length: end - offset }, (_, i) => cell(view, offset + i));
    if (!field) parts.push(h("span", { class: "bytes" }, cells));
    else parts.push(h("button", {
      key: offset, type: "button", class: `bytes named${field.rule ? " ruled" : ""}${field === chosen ? " chosen" : ""}`, title: told(view, field), "aria-label": told(view, field),
      "data-field": offset === field.offset ? field.offset : null, tabindex: field === tabbable && offset === field.offset ? "0" : "-1", "aria-pressed": String(field === chosen), onclick: () => choose(field),
    }, cells));
    offset = end;
  }
  return parts;
}

function cell(view, offset) {
  const byte = view.guest[offset];
  return h("span", { class: byte !== view.device[offset] ? "differs" : byte === 0 ? "zero" : null }, hex(byte, 2));
}

function table(view, fields, chosen, choose, title) {
  if (fields.length === 0) return h("p", { class: "empty" }, "Nothing of it is virtualised.");
  return h("table", {},
    h("caption", {}, title),
    h("thead", {}, h("tr", {}, ["Register", "Guest", "Device"].map(head => h("th", { scope: "col" }, head)))),
    h("tbody", {}, fields.map(field => h("tr", { key: field.offset, class: `${field.rule ? "ruled" : ""}${field === chosen ? " chosen" : ""}`, onclick: () => choose(field) },
      h("th", { scope: "row" }, h("span", { class: "mono quiet" }, place(field)), " ", field.name, field.rule && h("span", { class: "rule" }, field.rule)),
      h("td", { class: `mono${field.size <= 4 ? " short" : ""}` }, value(view.guest, field)),
      h("td", { class: `mono${field.size <= 4 ? " short" : ""}${value(view.guest, field) === value(view.device, field) ? " quiet" : ""}` }, value(view.device, field))))));
}

function onKey(event, fields, width, choose) {
  const offset = Number(event.target.closest("[data-field]")?.dataset.field ?? NaN);
  const at = fields.findIndex(field => field.offset === offset);
  if (at < 0) return;
  const below = fields.find(field => field.offset + field.size > offset + width), above = fields.findLast(field => field.offset <= offset - width);
  const to = { ArrowRight: fields[at + 1], ArrowLeft: fields[at - 1], ArrowDown: below, ArrowUp: above, Home: fields[0], End: fields.at(-1) }[event.key];
  if (!to) return;
  event.preventDefault();
  choose(to, true);
}
