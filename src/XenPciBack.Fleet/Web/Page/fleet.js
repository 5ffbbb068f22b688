// What the server tells, and whether it still does.

import { kept } from "./sparkline.js";

const mostIncidents = 500;

/** Milliseconds without a word, heartbeats included, after which the view is not live any more. The server beats every 5 s. */
const patience = 12_000;

export const fleet = {
  hosts: [],
  incidents: [],
  isLive: false,
  /** When it began or ceased to be live, by this browser's clock; null before the first answer. */
  since: null,
  /** The server's clock less this browser's. */
  skew: 0,
};

export const now = () => Date.now() + fleet.skew;

export const hostOf = name => fleet.hosts.find(entry => entry.host === name);

/** Rates and latencies of a guest since this page has been open. */
const histories = new Map();

export const historyOf = (host, domain) => histories.get(`${host}/${domain}`) ?? { rates: [], latencies: [] };

export const isUp = entry => entry.presence === "up";

/** An incident's name in this page's address: a daemon that starts anew counts from 1 again, so which daemon it was belongs to it. */
export const incidentId = incident => `${incident.number}-${Date.parse(incident.daemon)}`;

/** Guests that were crashed for their device and have not come back under the same id. */
export function killed(entry) {
  const alive = new Map((entry.status?.guests ?? []).map(guest => [guest.domain, guest]));
  const found = new Map();
  for (const incident of fleet.incidents) {
    if (incident.host !== entry.host || incident.kind !== "guestKilled" || incident.guest === null || found.has(incident.guest)) continue;
    const guest = alive.get(incident.guest);
    if (!guest || Date.parse(guest.since) < Date.parse(incident.at)) found.set(incident.guest, incident);
  }
  return found;
}

/** Names of guests that are gone, as far as this page has seen them. */
const names = new Map();

export const nameOf = (host, domain) => names.get(`${host}/${domain}`) ?? null;

/** @param changed called after each change */
export function follow(changed) {
  let source, watchdog, failures = 0;

  const live = isLive => {
    if (fleet.isLive === isLive && fleet.since !== null) return;
    fleet.isLive = isLive;
    fleet.since = Date.now();
    changed();
  };

  const lost = () => {
    source.close();
    clearTimeout(watchdog);
    live(false);
    setTimeout(connect, Math.min(10_000, 500 * 2 ** failures++) * (0.75 + Math.random() / 2));
  };

  const connect = () => {
    source = new EventSource("/api/events");
    const on = (name, handle) => source.addEventListener(name, event => {
      clearTimeout(watchdog);
      watchdog = setTimeout(lost, patience);
      handle(JSON.parse(event.data));
      changed();
    });
    on("fleet", told => {
      failures = 0;
      fleet.skew = Date.parse(told.at) - Date.now();
      fleet.hosts = [];
      told.hosts.forEach(setHost);
      fleet.incidents = told.incidents;
      live(true);
    });
    on("host", setHost);
    on("incident", incident => {
      fleet.incidents = [incident, ...fleet.incidents.filter(known => known.host !== incident.host || incidentId(known) !== incidentId(incident))].slice(0, mostIncidents);
    });
    on("beat", told => { fleet.skew = Date.parse(told.at) - Date.now(); });
    source.onerror = lost;
    watchdog = setTimeout(lost, patience);
  };
  connect();
}

function setHost(entry) {
  const before = hostOf(entry.host);
  fleet.hosts = [...fleet.hosts.filter(other => other !== before), entry].sort((a, b) => a.host.localeCompare(b.host, "en", { numeric: true }));
  const isNews = isUp(entry) && entry.status !== null && (before?.status?.number !== entry.status.number || before.status.since !== entry.status.since);
  const guests = entry.status?.guests ?? [];
  for (const guest of before?.status?.guests ?? []) if (!guests.some(other => other.domain === guest.domain)) histories.delete(`${entry.host}/${guest.domain}`);
  for (const guest of guests) {
    const key = `${entry.host}/${guest.domain}`;
    if (guest.name !== null) names.set(key, guest.name);
    if (!isNews) continue;
    const history = histories.get(key) ?? { rates: [], latencies: [] };
    history.rates = [...history.rates, guest.rate].slice(-kept);
    history.latencies = [...history.latencies, guest.latency?.p99 ?? 0].slice(-kept);
    histories.set(key, history);
  }
}
