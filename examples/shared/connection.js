// @ts-check
/** One socket to whichever node lives, and the word about it at the top of the page. */

import { Socket } from "/roost/roost.js";

/**
 * Connect, first to the node that this page came from, then to the others in any order.
 * @param {Record<string, string>} [params]
 */
export function connect(params = {}) {
  const socket = new Socket(location.origin, { params });
  const status = /** @type {HTMLElement} */ (document.getElementById("status"));

  /**
   * @param {string} state
   * @param {string} text
   */
  const show = (state, text) => {
    status.dataset.state = state;
    status.textContent = text;
  };

  /** @param {string} endpoint */
  const learnNodes = async (endpoint) => {
    try {
      /** @type {string[]} */
      const found = await (await fetch(new URL("/nodes", endpoint))).json();
      const others = found.map((web) => new URL(web)).map((url) => {
        if (["127.0.0.1", "localhost", "0.0.0.0"].includes(url.hostname)) url.hostname = location.hostname;
        return { origin: url.origin, rank: Math.random() };
      });
      others.sort((left, right) => left.rank - right.rank);
      socket.setEndpoints([...new Set([location.origin, ...others.map(({ origin }) => origin)])]);
      status.dataset.nodes = String(socket.endpoints.length);
    } catch {
      // It is lost again; the others are known from before.
    }
  };

  socket.on("open", (endpoint) => {
    show("open", `Connected to ${new URL(endpoint).host}`);
    learnNodes(endpoint);
  });
  socket.on("lost", ({ endpoint, failures }) => {
    const here = new URL(endpoint).host;
    show("lost", failures > 1 ? `${here} does not answer. Trying ${new URL(socket.endpoint).host}…` : `Lost ${here}. Reconnecting…`);
  });
  show("connecting", "Connecting…");
  socket.connect();
  return socket;
}

/**
 * The element with this id.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function find(id, type) {
  const element = document.getElementById(id);
  if (element instanceof type) return element;
  throw new Error(`the page has no #${id}`);
}

/**
 * A new element with a class and a text; the text is never markup.
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}
