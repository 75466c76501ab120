// Draws the document of api/v1/consensus as it comes. Text goes into the page as text, never as markup.
"use strict";

const STALE_SECONDS = 12; // the exporter speaks at least every 5 s
const RETRY_SECONDS = 3;
const NAMES_SHOWN = 6;
const MARKS = { yes: "✓ yes", nil: "∅ nil", none: "– none", unknown: "?" };

const byId = (id) => document.getElementById(id);
let source = null;
let last = null; // the newest document
let received = 0; // when it came, by this browser's clock that never jumps
let opened = 0; // when the present connection was asked for
let complaint = "";
const drawn = new Map(); // what each part of the page shows

function element(tag, classes, ...children) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  made.append(...children.filter((child) => child !== null));
  return made;
}

const seconds = () => performance.now() / 1000;
// The exporter's clock, as far as it can be told here; the browser's own may be wrong.
const now = () => last.time + (seconds() - received);
const percent = (share) => (share === null ? "?" : (Math.floor(Number((share * 1000).toFixed(6))) / 10).toFixed(1) + "\u00a0%");
const spent = (value) => (value === null ? "–" : value < 100 ? value.toFixed(1) + " s" : duration(value));
// The browser's time zone, in the order that a log has.
const at = (time) => new Date(time * 1000).toLocaleString("sv-SE");

function duration(value) {
  const whole = Math.max(0, Math.floor(value));
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => whole >= size);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2)
    .map(([size, unit], place) => [Math.floor((place ? whole % parts[first][0] : whole) / size), unit])
    .filter(([count], place) => count || !place)
    .map(([count, unit]) => count + " " + unit).join(" ");
}

// An age that goes on counting between two documents.
function age(time) {
  const made = element("time", "");
  made.dataset.time = time;
  made.dateTime = new Date(time * 1000).toISOString();
  made.title = at(time);
  made.textContent = duration(now() - time);
  return made;
}

const called = (member) => member.name || member.address.slice(0, 8);

function person(member, own) {
  return [
    element("div", "name", (own ? "★ " : "") + called(member) + (own ? " (yours)" : "")),
    element("div", "address", member.address), // whole, so that it can be copied; narrow screens show its beginning
  ];
}

function table(titles, rows) {
  const head = element("tr", "", ...titles.map(([title, classes]) => {
    const cell = element("th", classes, title);
    cell.scope = "col";
    return cell;
  }));
  return element("table", "", element("thead", "", head), element("tbody", "", ...rows));
}

// Draws a part of the page anew only when what it shows has changed, so that text can be marked and copied.
function part(id, shown, draw) {
  const key = JSON.stringify(shown);
  if (drawn.get(id) === key) return;
  drawn.set(id, key);
  byId(id).replaceChildren(...draw(shown));
}

function bar(title, votes, voted) {
  if (!votes) return [element("p", "", title + ": " + percent(voted) + " of the power has voted; who, is not known")];
  const text = title + ": " + percent(1 - votes.none) + " of the power has voted"
    + (votes.nil > 0 ? " (" + percent(votes.nil) + " for nil)" : "")
    + (votes.quorum ? ", enough" : ", more than 66.7 % is needed");
  const drawing = element("div", "bar", element("div", "block"), element("div", "nils"), element("div", "mark"));
  drawing.children[0].style.width = votes.block * 100 + "%";
  drawing.children[1].style.width = votes.nil * 100 + "%";
  drawing.setAttribute("aria-hidden", "true");
  return [element("p", "", text), drawing];
}

function bars({ round, prevoted, precommitted }) {
  return [
    ...bar("Prevotes", round ? round.prevotes : null, prevoted),
    ...bar("Precommits", round ? round.precommits : null, precommitted),
  ];
}

function missing({ missing, total, known }) {
  if (!known) return [element("p", "dim", "Not known: the validator set or its votes have not been told.")];
  if (!missing.length) return [element("p", "", "Nobody.")];
  const share = missing.reduce((sum, one) => sum + one.power, 0) / total;
  return [
    element("p", "", missing.length + " with " + percent(share) + " of the power."),
    table([["Validator"], ["Power", "number"], ["Missing for", "number"]], missing.map((one) => element("tr", one.own ? "own" : "",
      element("td", "", ...person(one, one.own)),
      element("td", "number", percent(one.power / total)),
      element("td", "number", age(one.since))))),
  ];
}

function proposal(round) {
  if (round.proposal.seen !== null) {
    return (round.proposal.in_time === false ? "too late" : "here") + (round.proposal.hash12 ? ", " + round.proposal.hash12 : "");
  }
  return round.timed_out ? "none in time" : "not seen";
}

function votes(counted) {
  if (!counted) return "not known";
  return "✓ " + percent(counted.block) + "  ∅ " + percent(counted.nil) + "  – " + percent(counted.none)
    + (counted.quorum_after_seconds !== null ? "; quorum after " + spent(counted.quorum_after_seconds) : "");
}

function rounds(list) {
  if (!list.length) return [element("p", "dim", "None has begun.")];
  return [table([["Round", "number"], ["Proposer"], ["Proposal"], ["Prevotes"], ["Precommits"]], [...list].reverse().map((round) =>
    element("tr", "",
      element("td", "number", String(round.round)),
      element("td", "name", round.proposer ? called(round.proposer) : "not known"),
      element("td", "hash", proposal(round)),
      element("td", "votes", votes(round.prevotes)),
      element("td", "votes", votes(round.precommits)))))];
}

function validators({ list, total, gone }) {
  if (!list.length) return [element("p", "dim", "The set is not known yet.")];
  const absent = new Set(gone);
  const sorted = [...list].sort((one, other) => other.own - one.own || one.index - other.index);
  return [table([["Validator"], ["Power", "number"], ["Prevote"], ["Precommit"], ["Missed in a row", "number"]], sorted.map((one) =>
    element("tr", (one.own ? "own " : "") + (absent.has(one.address) ? "missing" : ""),
      element("td", "", ...person(one, one.own)),
      element("td", "number", percent(one.power / total)),
      element("td", "mark " + one.prevote, MARKS[one.prevote] || "?"),
      element("td", "mark " + one.precommit, MARKS[one.precommit] || "?"),
      element("td", "number", String(one.consecutive_missed)))))];
}

function listed(members) {
  const more = members.length - NAMES_SHOWN;
  return members.slice(0, NAMES_SHOWN).map(called).join(", ") + (more > 0 ? " and " + more + " more" : "");
}

function heights(list) {
  if (!list.length) return [element("p", "dim", "None yet since this exporter started.")];
  return [table([["Height", "number"], ["Round", "number"], ["Interval", "number"], ["Absent"], ["Nil"]], [...list].reverse().map((one) =>
    element("tr", "",
      element("td", "number", String(one.height)),
      element("td", "number", String(one.round)),
      element("td", "number", spent(one.interval)),
      element("td", "name" + (one.absent.length ? " none" : ""), listed(one.absent) || "–"),
      element("td", "name" + (one.nil.length ? " nil" : ""), listed(one.nil) || "–"))))];
}

function draw(doc) {
  const chain = doc.chain || "unknown chain";
  const total = doc.power ? doc.power.total : 1;
  const counted = doc.rounds.find((round) => round.round === doc.round) || null;
  document.title = doc.node.condition.replaceAll("_", " ") + " · " + chain;
  byId("headline").dataset.condition = doc.node.condition;
  part("where", [chain, doc.node.height], () => [chain + (doc.node.height !== null ? ", newest block " + doc.node.height : "")]);
  part("words", doc.node.words, (words) => [words]);
  part("since", [doc.node.since], () => ["For ", age(doc.node.since), ", since " + at(doc.node.since)]);
  part("now", [doc.height, doc.round, doc.step, doc.proposer, doc.started, doc.node.answering, doc.node.peers], () => [
    doc.height === null ? "Nothing has been told yet. " : "Height " + doc.height
      + (doc.round !== null ? ", round " + doc.round : "") + (doc.step ? ", step " + doc.step : "")
      + (doc.proposer ? ", proposer " + called(doc.proposer) : "") + ". ",
    ...(doc.started !== null ? ["Begun ", age(doc.started), " ago. "] : []),
    doc.node.answering ? (doc.node.peers !== null ? "The node has " + doc.node.peers + (doc.node.peers === 1 ? " peer." : " peers.") : "") : "The node does not answer.",
  ]);
  part("bars", { round: counted, prevoted: doc.prevoted, precommitted: doc.precommitted }, bars);
  const known = doc.validators.length > 0 && ["running", "no_quorum", "stuck_with_quorum", "many_rounds"].includes(doc.node.condition);
  part("missing", { missing: doc.missing, total, known }, missing);
  part("rounds", doc.rounds, rounds);
  part("validators", { list: doc.validators, total, gone: doc.missing.map((one) => one.address) }, validators);
  part("heights", doc.last_heights, heights);
  document.querySelector("main").hidden = false;
}

function tick() {
  const quiet = seconds() - (received || opened);
  const stale = quiet > STALE_SECONDS || (!received && complaint !== "");
  document.body.classList.toggle("stale", stale);
  byId("stale").hidden = !stale;
  if (stale) {
    const told = "No news from the exporter for " + duration(quiet) + complaint + ". Trying again."
      + (last ? " What stands here is as of " + at(last.time) + "." : "");
    if (byId("stale").textContent !== told) byId("stale").textContent = told;
  }
  if (last && !stale) {
    for (const shown of document.querySelectorAll("time")) shown.textContent = duration(now() - Number(shown.dataset.time));
    byId("clock").textContent = "as of " + at(last.time);
  }
  // A browser tries again by itself when a connection breaks, but not when it was refused, nor when it hangs.
  if (!source || (source.readyState === EventSource.CLOSED && seconds() - opened > RETRY_SECONDS)
      || seconds() - Math.max(opened, received) > STALE_SECONDS) connect();
}

function connect() {
  if (source) source.close();
  opened = seconds();
  source = new EventSource("api/v1/consensus/stream");
  source.onmessage = (event) => {
    const doc = JSON.parse(event.data);
    received = seconds();
    complaint = "";
    if (doc.version !== 1) {
      complaint = " that this page understands (it speaks version " + doc.version + "; load the page again)";
      received = 0;
      return;
    }
    last = doc;
    draw(doc);
    tick();
  };
  source.onerror = () => {
    complaint = source.readyState === EventSource.CLOSED ? " (it refuses: too many pages are open, or a password is needed)" : " (the connection broke)";
  };
}

connect();
setInterval(tick, 1000);
