// @ts-check
/** The page: one socket, the nodes in the header, and the three parts. */

import { Chat } from "./chat.js";
import { Explorer } from "./explorer.js";
import { Nodes, shortName, webOf } from "./nodes.js";
import { RingView } from "./ring.js";
import { Socket } from "/roost/roost.js";

/** @typedef {import("./nodes.js").Ring} Ring */

const COUNTS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight"];

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const socket = new Socket(location.origin);
const nodes = new Nodes();
const chat = new Chat(socket, nodes);
const ringView = new RingView(nodes);
const explorer = new Explorer(socket, ringView);
let here = "";

/**
 * @param {string} state
 * @param {string} text
 */
function setStatus(state, text) {
  byId("status").dataset.state = state;
  byId("status").dataset.node = state === "open" ? here : "";
  byId("status-text").textContent = text;
}

/**
 * The nodes to fall back on: those that are up first, each group in random order so that the visitors of a dead node spread.
 * @param {Ring} ring
 */
function endpointsOf(ring) {
  const shuffled = ring.members.map((member) => ({ member, rank: (member.up ? 0 : 1) + Math.random() * 0.9 }));
  const others = shuffled.sort((left, right) => left.rank - right.rank).map(({ member }) => webOf(member));
  return [...new Set([socket.endpoint, ...others])];
}

/** @param {Ring} ring */
function showNodes(ring) {
  const items = ring.members.map((member) => {
    const link = document.createElement("a");
    link.href = `${webOf(member)}/${location.hash}`;
    link.dataset.node = member.name;
    link.className = member.up ? "" : "down";
    const words = member.name === here ? `You are on ${member.name}` : shortName(member.name);
    link.title = member.up ? `Open the page of ${member.name}` : `${member.name} is down`;
    if (member.name === here) link.setAttribute("aria-current", "true");
    const swatch = document.createElement("span");
    swatch.className = `swatch ${nodes.colourOf(member.name)}`;
    link.append(swatch, words);
    const item = document.createElement("li");
    item.append(link);
    return item;
  });
  byId("nodes").replaceChildren(...items);
  const count = COUNTS[ring.members.length] ?? String(ring.members.length);
  byId("tagline").textContent = `One program on ${count} ${ring.members.length === 1 ? "node" : "nodes"}.`;
}

/** @param {Ring} ring */
function showRing(ring) {
  nodes.members = ring.members;
  nodes.recolour();
  socket.setEndpoints(endpointsOf(ring));
  showNodes(ring);
  ringView.show(ring);
  explorer.offer(ring.members.length);
  explorer.refresh();
}

const cluster = socket.channel("cluster:ring");
cluster.on("joined", (ring) => {
  const before = here;
  here = ring.node;
  showRing(ring);
  setStatus("open", "Connected");
  if (before && before !== here) chat.note(`${before} does not answer. You are on ${here} now.`);
  else if (before) chat.note(`Connected to ${here} again.`);
});
cluster.on("ring", showRing);
socket.on("lost", ({ endpoint, failures }) => {
  const next = new URL(socket.endpoint).host;
  setStatus("lost", failures > 1 ? `No answer. Trying ${next}…` : `Lost ${new URL(endpoint).host}. Reconnecting…`);
});
addEventListener("hashchange", () => {
  for (const link of byId("nodes").querySelectorAll("a")) link.hash = location.hash;
});

cluster.join().catch(() => setStatus("lost", "The node did not show its ring. Trying again…"));
socket.connect();
