// Hosts, their guests, and the guests' devices: a flat list of rows that says its depth, so that each row is one line of a grid.

import { h } from "./view.js";
import { fleet, isUp, missed, nameOf, now } from "./fleet.js";
import { sparkline } from "./sparkline.js";
import { badge, clock, grouped, guestName, interrupts, isNamed, latency, moment, nature, plural, rate, span, stateName, toneOf, tones, troubleOf } from "./words.js";

/** Above this many devices the guests are closed at first; above this many guests the hosts, but for those where something is amiss. */
const mostDevices = 60, mostGuests = 100;

const guestPath = (host, domain) => `#/${encodeURIComponent(host)}/${domain}`;

/** The rows to be seen: what matches the filter, and what is above it. */
function rows(ui) {
  const guests = fleet.hosts.flatMap(entry => entry.status?.guests ?? []);
  const openGuests = guests.reduce((sum, guest) => sum + guest.devices.length, 0) <= mostDevices, openHosts = guests.length <= mostGuests;
  return fleet.hosts.flatMap(entry => {
    const key = entry.host, dead = missed(entry);
    const children = entry.status === null ? [] : [
      // One that was killed stays where it was.
      ...[
        ...entry.status.guests.map(guest => guestRow(entry, guest, dead.get(guest.domain), key)),
        ...[...dead.values()].filter(incident => !entry.status.guests.some(guest => guest.domain === incident.guest)).map(incident => killedRow(entry, incident, key)),
      ].sort((a, b) => a.domain - b.domain),
      ...entry.status.quarantine.map(device => quarantineRow(entry, device, key)),
    ];
    return visible({ ...hostRow(entry, dead), children, isOpenAtFirst: openHosts || dead.size + (entry.status?.quarantine.length ?? 0) > 0 }, ui, openGuests);
  });
}

function visible(row, ui, openGuests) {
  const whole = ui.filter === "" || row.words.toLowerCase().includes(ui.filter);
  const inside = (row.children ?? []).flatMap(child => visible(child, whole ? { ...ui, filter: "" } : ui, openGuests));
  if (!whole && inside.length === 0) return [];
  row.hasChildren = inside.length > 0;
  row.isOpen = row.hasChildren && (ui.filter !== "" && !whole || (ui.open.get(row.key) ?? row.isOpenAtFirst ?? openGuests));
  return [row, ...(row.isOpen ? inside : [])];
}

function hostRow(entry, dead) {
  const guests = entry.status?.guests ?? [];
  const isLost = !isUp(entry);
  const worst = Math.max(0, ...guests.map(guest => guest.latency?.p99 ?? 0));
  const total = guests.reduce((sum, guest) => sum + guest.rate, 0);
  const tone = entry.presence === "lost" ? "lost" : isLost || entry.status === null ? "idle" : "good";
  const state = isLost ? `${entry.presence === "lost" ? "lost" : "ended"} since ${clock(entry.presentSince, now())}` : entry.status === null ? "nothing told yet" : "live";
  const amiss = [[dead.size, "bad", "killed"], [entry.status?.quarantine.length ?? 0, "kept", "in quarantine"]].filter(([count]) => count > 0);
  return {
    key: entry.host, level: 1, kind: "host", isLost, amiss,
    name: entry.host, state: badge(tone, isLost ? moment(entry.presentSince, state) : state),
    rate: entry.status && total, latency: worst || null,
    info: entry.status && `${isLost ? `last state, ${span(now() - Date.parse(entry.status.at))} old` : `up ${span(now() - Date.parse(entry.status.since))}`}, Xen ${entry.status.xen}, xenpciback ${entry.status.version}`,
    says: [`host ${entry.host}`, state, plural(guests.length, "guest"), ...amiss.map(([count, , word]) => `${count} ${word}`)].join(", "), words: `${entry.host} ${state}`,
  };
}

function guestRow(entry, guest, kill, parent) {
  const key = `${parent}/${guest.domain}`;
  const state = kill ? "killed" : stateName(guest.state);
  const tone = kill ? "bad" : toneOf(guest.state);
  return {
    key, parent, level: 2, kind: "guest", domain: guest.domain, isKilled: kill !== undefined, isLost: !isUp(entry), href: guestPath(entry.host, guest.domain),
    name: guestName(guest), number: isNamed(guest) ? guest.domain : undefined, state: badge(tone, state),
    rate: guest.rate, latency: guest.latency?.p99 ?? null, history: guest.history,
    info: kill ? kill.summary : `${plural(guest.devices.length, "device")}, ${guest.topology === "vpci" ? "virtual bus" : guest.topology}`,
    says: `guest ${guestName(guest)}, domain ${guest.domain}, ${state}, ${rate(guest.rate)} operations a second`,
    words: `${guest.name ?? ""} domain ${guest.domain} ${state}`,
    children: guest.devices.map(device => deviceRow(entry, device, key)),
  };
}

function deviceRow(entry, device, parent) {
  const info = nature(device);
  const trouble = troubleOf(device);
  const state = trouble ?? interrupts(device);
  return {
    key: `${parent}/${device.device}`, parent, level: 3, kind: "device", isLost: !isUp(entry),
    name: device.device, note: `as ${device.virtual.replace(/^0000:/, "")}`, state: trouble ? badge("busy", state) : h("span", { class: "quiet" }, state), info,
    says: `device ${device.device}, ${info}, seen by the guest at ${device.virtual}, ${state}`, words: `${device.device} ${device.virtual} ${info} ${state}`,
  };
}

function killedRow(entry, incident, parent) {
  const known = nameOf(entry.host, incident.guest), name = known ?? `domain ${incident.guest}`;
  return {
    key: `${parent}/${incident.guest}`, parent, level: 2, kind: "guest", domain: incident.guest, isKilled: true, isLost: !isUp(entry), href: guestPath(entry.host, incident.guest), name, number: known === null ? undefined : incident.guest,
    state: badge("bad", ["killed ", moment(incident.at, clock(incident.at, now()))]), info: incident.summary,
    says: `guest ${name}, killed`, words: `${name} domain ${incident.guest} killed ${incident.summary}`,
  };
}

function quarantineRow(entry, device, parent) {
  return {
    key: `${parent}/quarantine/${device.device}`, parent, level: 2, kind: "device", isLost: !isUp(entry),
    name: device.device, note: `was guest ${device.guest}'s`, state: badge("kept", "quarantine"), info: `${device.reason}, since ${clock(device.since, now())}`,
    says: `device ${device.device} in quarantine: ${device.reason}`, words: `${device.device} quarantine ${device.reason}`,
  };
}

/** @param act changes what the viewer has chosen, and draws */
export function tree(ui, act) {
  const shown = rows(ui);
  if (shown.length === 0) return h("p", { class: "empty" }, ui.filter !== "" ? "Nothing matches the filter." : fleet.since === null || !fleet.isLive ? "Waiting for the server." : "No host has joined yet.");
  const selected = shown.some(row => row.key === ui.selected) ? ui.selected : shown[0].key;
  const positions = new Map();
  const sizes = Map.groupBy(shown, row => row.parent ?? "");
  const item = row => {
    const position = (positions.get(row.parent ?? "") ?? 0) + 1;
    positions.set(row.parent ?? "", position);
    return h("li", {
      key: row.key, role: "treeitem", class: `row ${row.kind}${row.kind !== "host" && !row.history ? " is-brief" : ""}${row.isKilled ? " is-killed" : ""}${row.isLost ? " is-lost" : ""}`, tabindex: row.key === selected ? "0" : "-1",
      "aria-level": row.level, "aria-posinset": position, "aria-setsize": sizes.get(row.parent ?? "").length,
      "aria-expanded": row.hasChildren ? String(row.isOpen) : null, "aria-selected": String(row.key === selected), "aria-label": row.says,
      onclick: event => {
        if (event.target.closest("a")) return;
        act(ui => { ui.selected = row.key; if (row.hasChildren) ui.open.set(row.key, !row.isOpen); });
      },
    },
    h("span", { class: "name" },
      h("span", { class: "twisty", "aria-hidden": "true" }, row.hasChildren ? row.isOpen ? "▾" : "▸" : ""),
      row.href ? h("a", { href: row.href, tabindex: "-1" }, row.name) : h("span", {}, row.name),
      row.number !== undefined && h("span", { class: "quiet" }, `#${row.number}`), row.note && h("span", { class: "quiet" }, row.note)),
    // Of a closed host this is all that is seen.
    h("span", { class: "state" }, row.state, !row.isOpen && row.amiss?.map(([count, tone, word]) => [" ", h("span", { class: `badge ${tone}`, title: `${count} ${word}` }, h("span", { class: "mark" }, tones[tone].mark), String(count))])),
    h("span", { class: "figure rate" }, row.history && line(row.history.rates, "of-rate"), typeof row.rate === "number" && h("span", { class: "number" }, rate(row.rate), h("span", { class: "unit" }, "/s"))),
    h("span", { class: "figure late" }, row.history && line(row.history.latencies, "of-latency"), typeof row.latency === "number" && h("span", { class: "number" }, latency(row.latency))),
    h("span", { class: "info", title: row.info }, row.info));
  };
  return h("div", { class: "tree" },
    h("div", { class: "row head", "aria-hidden": "true" }, h("span", {}, "Host, guest, device"), h("span", {}, "State"), h("span", { class: "figure" }, "Operations"), h("span", { class: "figure" }, "Latency, p99"), h("span", {}, "")),
    h("ul", { id: "tree", role: "tree", "aria-label": "Hosts, guests and devices", onkeydown: event => onKey(event, shown, selected, act) }, shown.map(item)));
}

const line = (values, kind) => values.some(value => value > 0) && sparkline(values, kind);

function onKey(event, shown, selected, act) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = shown.findIndex(row => row.key === selected), row = shown[at];
  const go = key => act(ui => { ui.selected = key; ui.focus = "tree"; });
  const open = isOpen => act(ui => ui.open.set(row.key, isOpen));
  const moves = {
    ArrowDown: () => go(shown[Math.min(at + 1, shown.length - 1)].key),
    ArrowUp: () => go(shown[Math.max(at - 1, 0)].key),
    Home: () => go(shown[0].key),
    End: () => go(shown.at(-1).key),
    ArrowRight: () => { if (row.hasChildren) row.isOpen ? go(shown[at + 1].key) : open(true); },
    ArrowLeft: () => { if (row.isOpen) open(false); else if (row.parent) go(row.parent); },
    Enter: () => { if (row.href) location.hash = row.href; else if (row.hasChildren) open(!row.isOpen); },
  };
  if (!moves[event.key]) return;
  event.preventDefault();
  moves[event.key]();
}

/** How much of everything there is, and how much of it is well. */
export function summary() {
  const statuses = fleet.hosts.filter(entry => entry.status !== null);
  const living = statuses.filter(isUp);
  const dead = new Map(statuses.map(entry => [entry, missed(entry)]));
  const guests = living.flatMap(entry => entry.status.guests.filter(guest => !dead.get(entry).has(guest.domain)));
  const lost = fleet.hosts.filter(entry => !isUp(entry)).length;
  const kept = statuses.reduce((sum, entry) => sum + entry.status.quarantine.length, 0);
  const part = (count, tone, text) => count > 0 && h("span", { class: `part ${tone}` }, h("span", { class: "mark", "aria-hidden": "true" }, tones[tone].mark), ` ${grouped(count)} ${text}`);
  const tile = (count, word, ...parts) => h("li", {}, h("b", {}, grouped(count)), ` ${word} `, parts);
  const connected = guests.filter(guest => guest.state === "connected").length;
  return h("ul", { class: "summary", "aria-label": "Summary" },
    tile(fleet.hosts.length, fleet.hosts.length === 1 ? "host" : "hosts", part(fleet.hosts.length - lost, "good", "live"), part(lost, "lost", "lost")),
    tile(guests.length, guests.length === 1 ? "guest" : "guests", part(connected, "good", "connected"), part(guests.length - connected, "busy", "not connected"), part(statuses.reduce((sum, entry) => sum + dead.get(entry).size, 0), "bad", "killed")),
    tile(guests.reduce((sum, guest) => sum + guest.devices.length, 0), "devices in use", part(kept, "kept", "in quarantine")),
    h("li", {}, h("b", {}, rate(guests.reduce((sum, guest) => sum + guest.rate, 0))), " operations a second"),
    fleet.incidents.length > 0 && h("li", { class: "to-incidents" }, h("button", { class: "link", type: "button", onclick: () => document.querySelector("#incidents .line")?.focus() }, h("b", {}, grouped(fleet.incidents.length)), fleet.incidents.length === 1 ? " incident" : " incidents")));
}
