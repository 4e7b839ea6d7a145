// @ts-check
/**
 * The ring, drawn: one slice per partition in the colour of its owner, grey when the owner is down; a thin band inside
 * has the colour of the node to which the partition is on its way.
 */

import { shortName } from "./nodes.js";

/** @typedef {import("./nodes.js").Ring} Ring */
/** @typedef {import("./nodes.js").Member} Member */
/** @typedef {{ partition: number, node: string, primary: boolean }} Replica */
/** @typedef {{ key: string, partition: number, preference_list: Replica[] }} Lookup */

const SVG = "http://www.w3.org/2000/svg";
const INNER = 74;
const OUTER = 102;
const LIFT = 7;
const SINK = -9;
const NEXT = 5;
/** The owner of a partition whose owner was removed by force. @type {Member} */
const NOBODY = { name: "nobody", status: "removed", up: false, ring_percent: 0, pending_percent: null, web: "" };
const MARK = 121;
const TICKS = 8;

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, String(value));
  return element;
}

/**
 * @param {number} radius
 * @param {number} turn 0..1, clockwise from the top
 */
function point(radius, turn) {
  const angle = turn * 2 * Math.PI;
  return `${(radius * Math.sin(angle)).toFixed(2)} ${(-radius * Math.cos(angle)).toFixed(2)}`;
}

/**
 * @param {number} partition
 * @param {number} size partitions of the ring
 * @param {number} lift how far the slice stands out, or sinks in when negative
 */
function slicePath(partition, size, lift) {
  return bandPath(partition, size, INNER - Math.max(lift, 0) / 2, OUTER + lift);
}

/**
 * @param {number} partition
 * @param {number} size partitions of the ring
 * @param {number} inner radius
 * @param {number} outer radius
 */
function bandPath(partition, size, inner, outer) {
  const gap = Math.min(0.0012, 0.12 / size);
  const from = partition / size + gap;
  const to = (partition + 1) / size - gap;
  return `M${point(inner, from)}L${point(outer, from)}A${outer} ${outer} 0 0 1 ${point(outer, to)}L${point(inner, to)}A${inner} ${inner} 0 0 0 ${point(inner, from)}Z`;
}

/**
 * "a, b and c".
 * @param {string[]} words
 */
function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/**
 * "34.4 % · up", "0.0 → 25.0 % · up · joining".
 * @param {Member} member
 */
function stateOf(member) {
  const then = member.pending_percent === null ? "" : ` → ${member.pending_percent.toFixed(1)}`;
  const status = member.status === "valid" ? "" : ` · ${member.status}`;
  return `${member.ring_percent.toFixed(1)}${then} % · ${member.up ? "up" : "down"}${status}`;
}

/** Draws the ring, the list of members, and where the looked-up key lives. */
export class RingView {
  /** @type {Ring | null} */
  #ring = null;
  /** @type {Lookup | null} */
  #lookup = null;
  #drawing = /** @type {SVGSVGElement} */ (/** @type {unknown} */ (document.getElementById("ring-drawing")));
  #membersList = /** @type {HTMLElement} */ (document.getElementById("members"));
  #summary = /** @type {HTMLElement} */ (document.getElementById("ring-summary"));
  #sentence = /** @type {HTMLElement} */ (document.getElementById("lookup"));
  #news = /** @type {HTMLElement} */ (document.getElementById("ring-news"));

  /** @param {import("./nodes.js").Nodes} nodes */
  constructor(nodes) {
    this.nodes = nodes;
    this.#drawing.addEventListener("pointerover", (event) => this.#point(event.target));
    this.#drawing.addEventListener("pointerleave", () => this.#writeCentre());
  }

  /**
   * Draw the ring as it is now, and say what changed since the last time.
   * @param {Ring} ring
   */
  show(ring) {
    this.#tell(this.#ring, ring);
    this.#ring = ring;
    this.#drawMembers(ring);
    this.#draw();
    const upCount = ring.members.filter((member) => member.up).length;
    this.#summary.textContent = `${ring.size} partitions on ${ring.members.length} nodes, ${upCount === ring.members.length ? "all" : upCount} up.`;
  }

  /**
   * Highlight the preference list of a key; null shows the plain ring.
   * @param {Lookup | null} lookup
   */
  highlight(lookup) {
    this.#lookup = lookup;
    this.#draw();
    this.#sentence.hidden = !lookup;
    if (!lookup) return;
    const holders = lookup.preference_list.map(({ node, primary }) => (primary ? shortName(node) : `${shortName(node)} (stands in)`));
    const key = document.createElement("b");
    key.textContent = lookup.key;
    this.#sentence.replaceChildren(key, ` hashes to partition ${lookup.partition}: kept by ${listed(holders)}.`);
  }

  /**
   * @param {Ring | null} before
   * @param {Ring} now
   */
  #tell(before, now) {
    const known = new Map(before?.members.map((member) => [member.name, member.up]) ?? []);
    const changed = now.members.filter(({ name, up }) => known.has(name) && known.get(name) !== up);
    if (changed.length === 0) return;
    const named = (/** @type {boolean} */ up) => changed.filter((member) => member.up === up).map(({ name }) => name);
    const [gone, back] = [named(false), named(true)];
    const lost = gone.length > 0 && `${listed(gone)} ${gone.length > 1 ? "are" : "is"} down: the others stand in.`;
    const found = back.length > 0 && `${listed(back)} ${back.length > 1 ? "are" : "is"} back.`;
    this.#news.textContent = [lost, found].filter(Boolean).join(" ");
  }

  /** @param {Ring} ring */
  #drawMembers(ring) {
    const rows = ring.members.map((member) => {
      const row = document.createElement("li");
      row.className = member.up ? "member" : "member down";
      row.dataset.node = member.name;
      row.dataset.up = String(member.up);
      const name = document.createElement("span");
      name.className = "member-name";
      name.textContent = member.name;
      const state = document.createElement("span");
      state.className = "member-state";
      state.textContent = stateOf(member);
      row.append(this.nodes.badge(member.name), name, state);
      return row;
    });
    this.#membersList.replaceChildren(...rows);
  }

  #draw() {
    const ring = this.#ring;
    if (!ring) return;
    const held = new Map((this.#lookup?.preference_list ?? []).map((replica, index) => [replica.partition, { ...replica, place: index + 1 }]));
    const slices = ring.owners.map((owner, partition) => {
      const { name, up } = ring.members[owner] ?? NOBODY;
      const holder = held.get(partition);
      const slice = shape("path", { d: slicePath(partition, ring.size, holder ? LIFT : up ? 0 : SINK) });
      const faded = held.size > 0 && !holder ? " faded" : "";
      slice.setAttribute("class", `slice ${this.nodes.colourOf(name)}${up ? "" : " down"}${holder ? " held" : ""}${faded}`);
      slice.setAttribute("data-partition", String(partition));
      slice.setAttribute("data-node", name);
      return slice;
    });
    const bands = ring.moving.map(([partition, owner]) => {
      const band = shape("path", { d: bandPath(partition, ring.size, INNER - NEXT - 2, INNER - 2) });
      band.setAttribute("class", `slice next ${this.nodes.colourOf((ring.members[owner] ?? NOBODY).name)}`);
      band.setAttribute("data-partition", String(partition));
      return band;
    });
    const marks = [...held.values()].map((holder) => this.#mark(holder, ring.size));
    const centre = shape("g", { class: "centre" });
    this.#drawing.replaceChildren(...slices, ...bands, ...(held.size > 0 ? marks : this.#ticks(ring.size)), centre);
    this.#writeCentre();
  }

  /**
   * The place of a replica in the preference list, outside its slice.
   * @param {Replica & { place: number }} holder
   * @param {number} size
   */
  #mark({ partition, node, primary, place }, size) {
    const turn = (partition + 0.5) / size;
    const mark = shape("g", { class: primary ? "mark" : "mark stand-in", transform: `translate(${point(MARK, turn)})` });
    const text = shape("text", { y: 0.5 });
    text.textContent = primary ? String(place) : shortName(node).slice(0, 2);
    mark.append(shape("circle", { r: 5.7 }), text);
    return mark;
  }

  /** @param {number} size */
  #ticks(size) {
    return Array.from({ length: TICKS }, (_, index) => {
      const partition = (index * size) / TICKS;
      const text = shape("text", { class: "tick", transform: `translate(${point(MARK - 8, (partition + 0.5) / size)})` });
      text.textContent = String(partition);
      return text;
    });
  }

  /** @param {EventTarget | null} target */
  #point(target) {
    if (!(target instanceof SVGPathElement) || !this.#ring) return;
    const partition = Number(target.getAttribute("data-partition"));
    const member = this.#ring.members[this.#ring.owners[partition]] ?? NOBODY;
    this.#writeCentre([`${partition}`, "partition", `${shortName(member.name)}, ${member.up ? "up" : "down"}`]);
  }

  /** @param {string[]} [lines] a big one, then smaller ones */
  #writeCentre(lines) {
    const lookup = this.#lookup;
    const plain = [String(this.#ring?.size ?? ""), "partitions"];
    const found = lookup && [String(lookup.partition), "partition of", lookup.key.length > 16 ? `${lookup.key.slice(0, 15)}…` : lookup.key];
    const texts = (lines ?? found ?? plain).map((line, index) => {
      const text = shape("text", { class: index ? "small" : "big", y: index ? 4 + index * 17 : 0 });
      text.textContent = line;
      return text;
    });
    this.#drawing.querySelector(".centre")?.replaceChildren(...texts);
  }
}
