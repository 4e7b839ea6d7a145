// @ts-check
/** How a node looks everywhere on the page: its short name, its colour, its badge, its address. */

/** @typedef {{ name: string, status: string, up: boolean, ring_percent: number, pending_percent: number | null, web: string }} Member */
/** @typedef {{ size: number, node: string, members: Member[], owners: number[], moving: [number, number][] }} Ring */

const COLOURS = 8;
const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]", "0.0.0.0"]);

/**
 * "a" for "a@127.0.0.1".
 * @param {string} name
 */
export function shortName(name) {
  return name.split("@")[0].slice(0, 12);
}

/**
 * The address of a member's page. A loopback address is meant relative to the host that this page came from.
 * @param {Member} member
 */
export function webOf(member) {
  const url = new URL(member.web);
  if (LOOPBACK.has(url.hostname)) url.hostname = location.hostname;
  return url.origin;
}

/** The members of the cluster as last heard, and what can be asked about them. */
export class Nodes {
  /** @type {Member[]} */
  members = [];

  /**
   * The CSS class that colours a node.
   * @param {string} name
   */
  colourOf(name) {
    const index = this.members.findIndex((member) => member.name === name);
    return index < 0 ? "no-colour" : `colour-${index % COLOURS}`;
  }

  /**
   * A small coloured badge with the node's short name.
   * @param {string} name
   */
  badge(name) {
    const badge = document.createElement("span");
    badge.className = `badge ${this.colourOf(name)}`;
    badge.textContent = shortName(name);
    badge.title = `through ${name}`;
    badge.dataset.node = name;
    return badge;
  }

  /** Colour the badges that were made before their node was known. */
  recolour() {
    for (const badge of document.querySelectorAll(".badge.no-colour")) {
      if (badge instanceof HTMLElement) badge.className = `badge ${this.colourOf(badge.dataset.node ?? "")}`;
    }
  }
}
