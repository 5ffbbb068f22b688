// What the server tells, and whether it still does.

import { kept } from "./sparkline.js";
import { guestName, isNamed } from "./words.js";

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

export const isUp = entry => entry.presence === "up";

/** An incident's name in this page's address: a daemon that starts anew counts from 1 again, so which daemon it was belongs to it. */
export const incidentId = incident => `${incident.number}-${Date.parse(incident.daemon)}`;

/** Guests that were crashed for their device and have not come back under the same id, with the incident. */
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

/** Those of them that somebody should still look at: their device is in quarantine, or it has just happened. */
export const missed = entry => new Map([...killed(entry)].filter(([domain, incident]) =>
  now() - Date.parse(incident.at) < fresh || entry.status?.quarantine.some(device => device.guest === domain)));

const fresh = 3_600_000;

/** Names of guests, also of those that are gone, as far as this page has seen them; those seen last are kept. */
const names = new Map();

const mostNames = 4096;

export const nameOf = (host, domain) => names.get(`${host}/${domain}`) ?? null;

function remember(host, guest) {
  if (!isNamed(guest)) return;
  const key = `${host}/${guest.domain}`;
  names.delete(key);
  names.set(key, guestName(guest));
  if (names.size > mostNames) names.delete(names.keys().next().value);
}

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
      fleet.hosts = told.hosts.map(followed).sort(byName);
      fleet.incidents = told.incidents;
      live(true);
    });
    on("host", told => {
      const entry = followed(told), at = fleet.hosts.findIndex(other => other.host === entry.host);
      if (at < 0) fleet.hosts = [...fleet.hosts, entry].sort(byName);
      else fleet.hosts[at] = entry;
    });
    on("incident", incident => {
      const others = fleet.incidents.filter(known => known.host !== incident.host || incidentId(known) !== incidentId(incident));
      // A host that is back tells what has happened meanwhile.
      const at = others.findIndex(known => Date.parse(known.at) <= Date.parse(incident.at));
      fleet.incidents = others.toSpliced(at < 0 ? others.length : at, 0, incident).slice(0, mostIncidents);
    });
    on("beat", told => { fleet.skew = Date.parse(told.at) - Date.now(); });
    source.onerror = lost;
    watchdog = setTimeout(lost, patience);
  };
  connect();
}

const collator = new Intl.Collator("en", { numeric: true });

const byName = (a, b) => collator.compare(a.host, b.host);

/** A host as it is told, each of its guests with its rates and latencies since this page has been open. */
function followed(entry) {
  const before = hostOf(entry.host)?.status;
  const isNews = isUp(entry) && (before?.number !== entry.status?.number || before?.since !== entry.status?.since);
  const earlier = new Map(before?.guests.map(guest => [guest.domain, guest.history]));
  for (const guest of entry.status?.guests ?? []) {
    remember(entry.host, guest);
    const { rates, latencies } = earlier.get(guest.domain) ?? { rates: [], latencies: [] };
    guest.history = isNews ? { rates: [...rates, guest.rate].slice(-kept), latencies: [...latencies, guest.latency?.p99 ?? 0].slice(-kept) } : { rates, latencies };
  }
  return entry;
}
