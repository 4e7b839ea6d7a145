// @ts-check
/** All cursors on one canvas. What comes is only remembered; it is drawn with the next frame of the screen. */

import { connect, element, find } from "/shared/connection.js";

/** @typedef {{ id: string, node: string, x: number, y: number, at: number, name: string, seen: number }} Cursor */

const NAME = "cursors:name";
const SENT_MS = 50;
const STILL_MS = 1_000;
const FORGOTTEN_MS = 3_000;
const FACTS_MS = 500;
const STEP = 0.02;
const COLOURS = ["#3f9c95", "#cf7f1f", "#8b76cf", "#4f8fd6", "#d4637c", "#7f9a2e"];
const SLOW_MS = 1;
const ANIMALS = ["Otter", "Lynx", "Badger", "Marten", "Fox", "Hare", "Stoat", "Vole"];

const canvas = find("field", HTMLCanvasElement);
const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
const nameField = find("name", HTMLInputElement);
const slow = find("slow", HTMLButtonElement);
/** @type {Map<string, Cursor>} */
const cursors = new Map();
/** @type {string[]} */
const nodes = [];
const mine = { x: 0.3 + 0.4 * Math.random(), y: 0.3 + 0.4 * Math.random(), sent: 0, isNew: true };
let id = "";
let moves = 0;
let behindMs = 0;
let countedMs = performance.now();
let clockMs = Infinity;
let isSlow = false;
let name = localStorage.getItem(NAME) ?? ANIMALS[Math.floor(Math.random() * ANIMALS.length)];
nameField.value = name;

const socket = connect();
/** @type {import("/roost/roost.js").Channel} */
let channel;

function join() {
  channel?.leave();
  const made = (channel = socket.channel("cursors:field", () => ({ name })));
  made.on("joined", (reply) => {
    id = reply.id;
    document.body.dataset.node = reply.node;
    mine.isNew = true;
  });
  made.on("down", () => (document.body.dataset.node = ""));
  made.on("moved", (cursor) => take(cursor));
  made.on("gone", (gone) => cursors.delete(gone.id));
  made.join().catch(() => undefined); // the line at the top says it
}

/** @param {Cursor} cursor */
function take(cursor) {
  if (isSlow) for (const until = performance.now() + SLOW_MS; performance.now() < until; );
  const now = Date.now();
  // Another computer has another clock: the quickest move that was seen is taken for one that took no time.
  clockMs = Math.min(clockMs, now - cursor.at);
  behindMs = Math.max(behindMs, now - cursor.at - clockMs);
  moves += 1;
  cursor.seen = now;
  cursors.set(cursor.id, cursor);
  if (!nodes.includes(cursor.node)) nodes.push(cursor.node);
}

/** @param {number} now */
function send(now) {
  if (channel.state !== "joined" || now - mine.sent < (mine.isNew ? SENT_MS : STILL_MS)) return;
  mine.sent = now;
  mine.isNew = false;
  channel.push("move", { x: mine.x, y: mine.y }).catch(() => undefined);
}

/**
 * An arrow with its tip at (x, y).
 * @param {number} x
 * @param {number} y
 * @param {string} colour
 * @param {number} size
 */
function arrow(x, y, colour, size) {
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x, y + 1.5 * size);
  context.lineTo(x + 0.42 * size, y + 1.15 * size);
  context.lineTo(x + 1.05 * size, y + 1.05 * size);
  context.closePath();
  context.fillStyle = colour;
  context.fill();
}

/** @param {string} node */
const colourOf = (node) => COLOURS[Math.max(0, nodes.indexOf(node)) % COLOURS.length];

function draw() {
  const now = Date.now();
  const { width, height } = canvas.getBoundingClientRect();
  const scale = devicePixelRatio;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(document.body);
  context.font = `600 12px ${style.getPropertyValue("--sans")}`;
  for (const cursor of cursors.values()) {
    if (now - cursor.seen > FORGOTTEN_MS) cursors.delete(cursor.id);
    else if (cursor.name) label(cursor.x * width, cursor.y * height, colourOf(cursor.node), cursor.name, style);
    else arrow(cursor.x * width, cursor.y * height, colourOf(cursor.node), 9);
  }
  label(mine.x * width, mine.y * height, style.getPropertyValue("--ink"), `${name} (you)`, style);
  send(now);
  requestAnimationFrame(draw);
}

/**
 * A larger arrow with a name beside it.
 * @param {number} x
 * @param {number} y
 * @param {string} colour
 * @param {string} text
 * @param {CSSStyleDeclaration} style
 */
function label(x, y, colour, text, style) {
  arrow(x, y, colour, 15);
  context.fillStyle = style.getPropertyValue("--ink");
  context.fillText(text, x + 14, y + 32);
}

function showFacts() {
  const counts = nodes.toSorted().map((node) => ({ node, count: [...cursors.values()].filter((cursor) => cursor.node === node).length }));
  find("count", HTMLElement).textContent = String(cursors.size + 1);
  find("rate", HTMLElement).textContent = String(Math.round((moves * 1000) / (performance.now() - countedMs)));
  find("behind", HTMLElement).textContent = `${Math.round(behindMs)} ms`;
  const items = counts.map(({ node, count }) => {
    const item = element("li", `colour-${nodes.indexOf(node) % COLOURS.length}`, `${node.split("@")[0]} ${count}`);
    item.dataset.node = node;
    item.dataset.count = String(count);
    return item;
  });
  find("nodes", HTMLUListElement).replaceChildren(...items);
  moves = behindMs = 0;
  countedMs = performance.now();
}

/**
 * @param {number} x
 * @param {number} y
 */
function moveTo(x, y) {
  mine.x = Math.min(1, Math.max(0, x));
  mine.y = Math.min(1, Math.max(0, y));
  mine.isNew = true;
}

canvas.addEventListener("pointermove", (event) => {
  const box = canvas.getBoundingClientRect();
  moveTo((event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height);
});
canvas.addEventListener("keydown", (event) => {
  const [dx, dy] = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key] ?? [0, 0];
  if (!dx && !dy) return;
  event.preventDefault();
  moveTo(mine.x + dx, mine.y + dy);
});
nameField.addEventListener("change", () => {
  name = nameField.value.trim() || name;
  nameField.value = name;
  localStorage.setItem(NAME, name);
  join();
});
slow.addEventListener("click", () => {
  isSlow = !isSlow;
  slow.setAttribute("aria-pressed", String(isSlow));
});
setInterval(showFacts, FACTS_MS);
join();
requestAnimationFrame(draw);
