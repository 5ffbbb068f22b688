// Draws what the address asks for, again after each change, and hears the keys that work everywhere.

import { h, patch } from "./view.js";
import { fleet, follow } from "./fleet.js";
import { guestPage } from "./guest.js";
import { incidents } from "./incidents.js";
import { summary, tree } from "./tree.js";
import { badge, clock, tones } from "./words.js";

/** What the viewer has chosen. */
const ui = { filter: "", open: new Map(), selected: null, incident: null, device: null, field: null, allFields: false, focus: null, reveal: true };

const element = id => document.getElementById(id);
const main = element("main"), filter = element("filter"), help = element("help");

/** Changes of the fleet that follow each other closely are drawn together. */
const pause = 250;

let due = null;

function act(change) {
  change(ui);
  draw();
}

/** `#/`, `#/HOST/incident/ID`, `#/HOST/GUEST` or `#/HOST/GUEST/incident/ID`. */
function route() {
  const [host, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(part => { try { return decodeURIComponent(part); } catch { return ""; } });
  const domain = /^\d+$/.test(rest[0]) ? Number(rest.shift()) : null;
  return { host, domain, incident: rest[0] === "incident" ? `${host}/${rest[1]}` : null };
}

function draw() {
  clearTimeout(due);
  due = null;
  const at = route();
  ui.incident = at.incident;
  document.body.classList.toggle("not-live", fleet.since !== null && !fleet.isLive);
  patch(element("live"), fleet.since === null ? ["connecting"] : fleet.isLive ? [badge("good", "live")] : [badge("busy", `not live since ${clock(fleet.since, Date.now())}, trying again`)]);
  patch(main, at.domain === null ? overview() : [guestPage(at, ui, act)]);
  document.title = at.domain === null ? "XenPciBack" : `${element("title").firstChild.textContent} · XenPciBack`;
  if (ui.focus === "tree") main.querySelector('[role="treeitem"][tabindex="0"]')?.focus();
  if (ui.focus === "field") main.querySelector(`[data-field="${ui.field}"]`)?.focus();
  if (ui.focus === "title") element("title")?.focus({ preventScroll: true });
  ui.focus = null;
  const open = ui.reveal && main.querySelector(".incident.is-open");
  if (open) {
    open.scrollIntoView({ block: "nearest" });
    ui.reveal = false;
  }
}

const overview = () => [summary(), h("div", { key: "fleet", class: "fleet" },
  h("section", { class: "hosts", "aria-labelledby": "hosts-title" }, h("h1", { id: "hosts-title", class: "unseen" }, "Fleet"), tree(ui, act)),
  incidents(ui))];

/** Nothing is drawn while nobody can see it. */
function later() {
  if (!document.hidden) due ??= setTimeout(draw, pause);
}

let last = route();

addEventListener("hashchange", () => {
  const before = last;
  last = route();
  ui.reveal = true;
  if (last.domain !== null && (before.host !== last.host || before.domain !== last.domain)) {
    Object.assign(ui, { device: null, field: null, focus: "title" });
    scrollTo(0, 0);
  } else if (last.domain === null && before.domain !== null) {
    Object.assign(ui, { selected: `${before.host}/${before.domain}`, focus: "tree" });
  }
  draw();
});

filter.addEventListener("input", () => act(ui => {
  ui.filter = filter.value.trim().toLowerCase();
  if (route().domain !== null) location.hash = "#/";
}));

filter.addEventListener("keydown", event => {
  if (event.key === "Escape" && filter.value !== "") {
    filter.value = "";
    act(ui => { ui.filter = ""; });
    event.preventDefault();
  } else if (event.key === "Enter" || event.key === "ArrowDown" || event.key === "Escape") {
    event.preventDefault();
    act(ui => { ui.focus = "tree"; });
  } else {
    return;
  }
  event.stopPropagation();
});

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open || event.target.matches("input:not([type=checkbox])")) return;
  const keys = {
    "/": () => { filter.focus(); filter.select(); },
    "?": () => help.showModal(),
    t: () => { if (route().domain !== null) location.hash = "#/"; else act(ui => { ui.focus = "tree"; }); },
    i: () => main.querySelector("#incidents .line")?.focus(),
    Escape: () => { if (location.hash !== "" && location.hash !== "#/") location.hash = "#/"; },
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});

element("help-open").addEventListener("click", () => help.showModal());
element("skip").addEventListener("click", event => { event.preventDefault(); main.focus(); });
patch(element("marks"), Object.values(tones).map(({ mark, means }, i) => [h("dt", { class: Object.keys(tones)[i] }, mark), h("dd", {}, means)]).flat());
matchMedia("(max-width: 640px)").addEventListener("change", draw);

document.addEventListener("visibilitychange", later);
follow(later);
draw();
// What is said of the time that has passed.
setInterval(later, 1000);
