// One guest: how much it asks for, what it asks for, which devices it sees where, and what it reads of their config space.

import { h } from "./view.js";
import { configSpace } from "./config.js";
import { fleet, hostOf, isUp, killed, nameOf, now } from "./fleet.js";
import { incidents } from "./incidents.js";
import { sparkline } from "./sparkline.js";
import { badge, clock, grouped, guestName, hex, interrupts, latency, moment, nature, rate, span, stateName, toneOf, troubleOf } from "./words.js";

export function guestPage(route, ui, act) {
  const { host, domain } = route;
  const entry = hostOf(host);
  const guest = entry?.status?.guests.find(guest => guest.domain === domain);
  const kill = entry && killed(entry).get(domain);
  const name = guest ? guestName(guest) : nameOf(host, domain) ?? `domain ${domain}`;
  return h("article", { key: `guest ${host}/${domain}`, class: `guest-page${entry && !isUp(entry) ? " is-lost" : ""}` },
    h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: "#/" }, "Fleet"), " / ", host),
    h("h1", { id: "title", tabindex: "-1" }, h("bdi", {}, name), h("span", { class: "quiet" }, ` #${domain} on ${host}`)),
    h("p", { class: "standing" }, standing(entry, guest, kill)),
    guest && figures(guest),
    guest && h("div", { class: "two" }, mix(guest), topology(guest)),
    guest && configSpace(entry, guest, ui, act),
    incidents(ui, route));
}

function standing(entry, guest, kill) {
  if (!entry) return fleet.isLive ? "No host of this name is known." : "Waiting for the server.";
  const lost = !isUp(entry) && [badge(entry.presence === "lost" ? "lost" : "idle", [entry.presence === "lost" ? "host lost since " : "daemon ended ", moment(entry.presentSince, clock(entry.presentSince, now()))]), h("span", {}, "This is its last state.")];
  if (kill) return [lost, badge("bad", ["killed ", moment(kill.at, clock(kill.at, now()))]), h("span", {}, kill.summary)];
  if (!guest) return [lost, badge("idle", "not there"), h("span", {}, "The host has no guest with this domain id, or no more.")];
  return [lost, badge(toneOf(guest.state), stateName(guest.state)), h("span", {}, "served for ", moment(guest.since, span(now() - Date.parse(guest.since))))];
}

function figures(guest) {
  const figure = (title, value, unit, line) => h("div", { class: "tile" }, h("dt", {}, title), h("dd", {}, h("b", {}, value), unit && h("span", { class: "unit" }, ` ${unit}`), line));
  const lasted = value => guest.latency ? latency(guest.latency[value]) : "–";
  return h("dl", { class: "tiles" },
    figure("Operations", rate(guest.rate), "a second", sparkline(guest.history.rates, "of-rate")),
    figure("Latency, p99", lasted("p99"), null, sparkline(guest.history.latencies, "of-latency")),
    figure("Median", lasted("median")),
    figure("Longest", lasted("longest")));
}

/** Which operations it has asked for since the daemon serves it, and what became of them. */
function mix(guest) {
  const kinds = [...Map.groupBy(guest.operations, one => one.operation)].map(([operation, results]) => ({ operation, results, count: results.reduce((sum, one) => sum + one.count, 0) })).sort((a, b) => b.count - a.count);
  const all = kinds.reduce((sum, kind) => sum + kind.count, 0), most = Math.max(1, ...kinds.map(kind => kind.count));
  return h("section", { class: "mix", "aria-labelledby": "mix-title" },
    h("h2", { id: "mix-title" }, "Operations", h("span", { class: "quiet" }, ` ${grouped(all)} since ${clock(guest.since, now())}`)),
    kinds.length === 0 ? h("p", { class: "empty" }, "None yet.") : h("ul", {}, kinds.map(kind => {
      const refused = kind.results.filter(one => one.result !== "ok" && one.count > 0);
      return h("li", { key: kind.operation },
        h("span", { class: "mono" }, kind.operation),
        h("span", { class: "bar", "aria-hidden": "true" }, kind.results.filter(one => one.count > 0).sort((a, b) => (b.result === "ok") - (a.result === "ok") || b.count - a.count)
          .map(one => h("i", { key: one.result, class: one.result === "ok" ? "ok" : "not", "--share": `${100 * one.count / most}%` }))),
        h("span", { class: "number" }, grouped(kind.count)),
        h("span", { class: "number quiet" }, share(kind.count / all)),
        refused.length > 0 && h("span", { class: "refused" }, refused.map(one => h("span", {}, `${grouped(one.count)} ${one.result.replaceAll("_", " ")}`))));
    })));
}

const share = part => part >= 0.0995 ? `${Math.round(part * 100)} %` : part >= 0.001 ? `${(part * 100).toFixed(1)} %` : "< 0.1 %";

/** The virtual bus with its slots, and where each device really is. */
function topology(guest) {
  const buses = Map.groupBy([...guest.devices].sort((a, b) => a.virtual < b.virtual ? -1 : 1), device => device.virtual.slice(0, 7));
  return h("section", { class: "topology", "aria-labelledby": "topology-title" },
    h("h2", { id: "topology-title" }, "Topology", h("span", { class: "quiet" }, guest.topology === "vpci" ? " one virtual bus" : " where they are on the host")),
    guest.devices.length === 0 ? h("p", { class: "empty" }, "No device.") : [...buses].map(([bus, devices]) => {
      const used = new Set(devices.map(device => parseInt(device.virtual.slice(8, 10), 16)));
      return h("div", { key: bus, class: "bus" },
        h("p", {}, "virtual bus ", h("span", { class: "mono" }, bus),
          h("span", { class: "slots", role: "img", "aria-label": `${used.size} of 32 slots in use` }, Array.from({ length: 32 }, (_, slot) => h("i", { class: used.has(slot) ? "used" : "free", title: `slot ${hex(slot, 2)}` })))),
        h("ul", {}, devices.map(device => h("li", { key: device.device },
          h("span", { class: "mono slot" }, device.virtual.slice(8)),
          h("span", { class: "arrow", role: "img", "aria-label": "is" }, "→"),
          h("span", { class: "mono" }, device.device),
          h("span", { class: "what" }, nature(device)),
          troubleOf(device) ? badge("busy", troubleOf(device)) : h("span", { class: "quiet" }, interrupts(device))))));
    }));
}
