// What has happened, the newest first. One of them is open at a time, and the page's address says which.

import { h } from "./view.js";
import { fleet, incidentId, nameOf, now } from "./fleet.js";
import { clock, kindOf, moment, span, tones } from "./words.js";

const incidentPath = incident => `#/${encodeURIComponent(incident.host)}/incident/${incidentId(incident)}`;

const wordsOf = incident => [incident.host, kindOf(incident.kind)[0], incident.summary, incident.device ?? "", incident.guest === null ? "" : `domain ${incident.guest}`, nameOf(incident.host, incident.guest) ?? "", ...incident.details]
  .join(" ").toLowerCase();

const supervision = "How it went up the supervision";

/** More at a time would help nobody's eye. */
const mostShown = 200;

/** @param ofGuest only those that concern it; null: all that the filter lets through */
export function incidents(ui, ofGuest = null) {
  const shown = ofGuest === null
    ? fleet.incidents.filter(incident => wordsOf(incident).includes(ui.filter))
    : fleet.incidents.filter(incident => incident.host === ofGuest.host && incident.guest === ofGuest.domain);
  return h("section", { class: "incidents", "aria-labelledby": "incidents-title" },
    h("h2", { id: "incidents-title" }, "Incidents", shown.length > 0 && h("span", { class: "quiet" }, ` ${shown.length}`)),
    shown.length === 0 ? h("p", { class: "empty" }, ui.filter !== "" && ofGuest === null ? "None matches the filter." : "None.")
      : h("ol", { id: "incidents", "aria-label": "Incidents, newest first", onkeydown: onKey }, shown.slice(0, mostShown).map(one => incident(one, ui, ofGuest))),
    shown.length > mostShown && h("p", { class: "empty" }, "The filter finds older ones."));
}

function incident(one, ui, ofGuest) {
  const id = `${one.host}/${incidentId(one)}`;
  const isOpen = ui.incident === id;
  const [title, tone] = kindOf(one.kind);
  const guest = one.guest === null ? null : nameOf(one.host, one.guest) ?? `domain ${one.guest}`;
  const panel = `incident-${id}`;
  return h("li", { key: id, class: `incident ${tone}${isOpen ? " is-open" : ""}` },
    h("a", {
      class: "line", href: isOpen ? ofGuest ? `#/${encodeURIComponent(ofGuest.host)}/${ofGuest.domain}` : "#/" : ofGuest ? `#/${encodeURIComponent(ofGuest.host)}/${ofGuest.domain}/incident/${incidentId(one)}` : incidentPath(one),
      role: "button", "aria-expanded": String(isOpen), "aria-controls": isOpen ? panel : null,
      "aria-label": `${title}, ${one.host}${guest ? `, ${guest}` : ""}, ${clock(one.at, now())}: ${one.summary}`,
    },
    h("span", { class: "mark", "aria-hidden": "true" }, tones[tone].mark),
    h("span", { class: "what" }, title),
    h("span", { class: "where" }, one.host, guest && ` · ${guest}`),
    moment(one.at, `${span(now() - Date.parse(one.at))} ago`),
    h("span", { class: "says" }, one.summary)),
    isOpen && h("div", { class: "panel", id: panel },
      h("p", { class: "quiet" }, moment(one.at, clock(one.at, now())), `, number ${one.number} of ${one.host}`, one.device && [", device ", h("span", { class: "mono" }, one.device)]),
      one.details.length > 0 && [h("h3", {}, one.kind === "deviceError" || one.kind === "guestKilled" ? "Status" : "Details"), h("ul", { class: "bits" }, one.details.map(detail => h("li", {}, detail)))],
      one.path.length > 0 && [h("h3", {}, supervision), h("ol", { class: "chain", "aria-label": supervision }, one.path.map(step => h("li", {}, stepOf(step))))],
      one.guest !== null && !ofGuest && h("p", {}, h("a", { href: `#/${encodeURIComponent(one.host)}/${one.guest}` }, `The guest's page`))));
}

/** "/user/backend/guest-7 GuestActor: fails": who, where it is, and what it did. */
function stepOf(step) {
  const [, where, who, did] = /^(\/\S+) ([^:]+): (.*)$/s.exec(step) ?? [null, null, ...step.split(/: (.*)/s)];
  return [h("span", { class: "who" }, who), where && h("span", { class: "mono quiet" }, where), did && h("span", { class: "did" }, did)];
}

function onKey(event) {
  const lines = [...event.currentTarget.querySelectorAll(".line")], at = lines.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: lines.length - 1 }[event.key];
  if (event.key === " " && at >= 0) lines[at].click();
  else if (at < 0 || to === undefined) return;
  else lines[Math.min(Math.max(to, 0), lines.length - 1)].focus();
  event.preventDefault();
}
