// @ts-check
/**
 * A small client for the Phoenix V2 channel protocol: no dependencies, no build step.
 *
 *     const socket = new Socket(["http://127.0.0.1:4000", "http://127.0.0.1:4001"]);
 *     const room = socket.channel("room:lobby", { name: "Alex" });
 *     room.on("new_msg", (message) => console.log(message.body));
 *     socket.connect();
 *     await room.join();
 *     await room.push("new_msg", { body: "Hello" });
 *
 * A lost connection is dialled again with growing, jittered pauses: first the same endpoint, then the others in turn.
 * Channels join again by themselves. A push that was in flight is rejected at once and never sent twice: the caller
 * alone knows whether repeating it is safe.
 */

/** @typedef {Record<string, any>} Payload */
/** @typedef {{ key: string, metas: Payload[] }} Present */
/** @typedef {"closed" | "waiting" | "joining" | "joined" | "leaving"} ChannelState */
/** @typedef {"closed" | "connecting" | "open" | "waiting"} SocketState */

const HEARTBEAT_MS = 30_000;
const TIMEOUT_MS = 10_000;
const CONNECT_MS = 3_000;
const RETRY_FIRST_MS = 100;
const RETRY_LAST_MS = 5_000;
const STEADY_MS = 5_000;
const REJOIN_MS = [1_000, 2_000, 5_000, 10_000];

/** Why a push or a join did not succeed: "error" (the server refused), "timeout", or "closed" (the connection or the channel went away). */
export class PushError extends Error {
  /**
   * @param {"error" | "timeout" | "closed"} status
   * @param {Payload} response what the server said, or {}
   */
  constructor(status, response = {}) {
    super(typeof response.reason === "string" ? response.reason : status);
    this.name = "PushError";
    this.status = status;
    this.response = response;
  }
}

/** Named listeners. */
class Emitter {
  /** @type {Map<string, Set<(detail: any) => void>>} */
  #listeners = new Map();

  /**
   * Call `listener` at every `event`.
   * @param {string} event
   * @param {(detail: any) => void} listener
   * @returns {() => void} stops it again
   */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /**
   * @param {string} event
   * @param {any} [detail]
   */
  emit(event, detail) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(detail);
  }
}

/**
 * One WebSocket to one of several equal endpoints, kept open until `disconnect`.
 * Events: "state" (SocketState), "open" (endpoint), "lost" ({ endpoint, failures, delayMs }).
 */
export class Socket extends Emitter {
  /** @type {SocketState} */
  state = "closed";
  /** @type {WebSocket | null} */
  #connection = null;
  /** @type {Set<Channel>} */
  #channels = new Set();
  /** @type {string | null} */
  #heartbeatRef = null;
  #refs = 0;
  #failures = 0;
  #index = 0;
  /** @type {Record<string, ReturnType<typeof setTimeout>>} */
  #timers = {};

  /**
   * @param {string | string[]} endpoints origins such as "http://127.0.0.1:4000", the preferred one first
   * @param {{ path?: string, params?: Record<string, string>, heartbeatMs?: number, timeoutMs?: number }} [options]
   */
  constructor(endpoints, { path = "/socket/websocket", params = {}, heartbeatMs = HEARTBEAT_MS, timeoutMs = TIMEOUT_MS } = {}) {
    super();
    this.endpoints = [endpoints].flat();
    this.path = path;
    this.params = params;
    this.heartbeatMs = heartbeatMs;
    this.timeoutMs = timeoutMs;
    const wake = () => this.state === "waiting" && this.#dial();
    globalThis.addEventListener?.("online", wake);
    globalThis.document?.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake());
  }

  /** The endpoint in use, or the one to be tried next. */
  get endpoint() {
    return this.endpoints[this.#index];
  }

  /**
   * Replace the endpoints; the connection in use stays.
   * @param {string[]} endpoints
   */
  setEndpoints(endpoints) {
    const current = this.endpoint;
    this.endpoints = endpoints.includes(current) ? endpoints : [current, ...endpoints];
    this.#index = this.endpoints.indexOf(current);
  }

  /** Open the connection and keep it open. */
  connect() {
    if (this.state === "closed") this.#dial();
  }

  /** Close the connection for good. */
  disconnect() {
    const connection = this.#connection;
    this.#drop();
    this.#enter("closed");
    connection?.close(1000);
    for (const channel of [...this.#channels]) channel.socketLost();
  }

  /**
   * A channel of this socket; `join` it to hear something.
   * @param {string} topic
   * @param {Payload | (() => Payload)} [params] sent with every join and rejoin
   */
  channel(topic, params = {}) {
    const channel = new Channel(this, topic, params);
    this.#channels.add(channel);
    return channel;
  }

  /** @param {Channel} channel */
  forget(channel) {
    this.#channels.delete(channel);
  }

  /** A reference that this socket has not used yet. */
  makeRef() {
    this.#refs += 1;
    return String(this.#refs);
  }

  /**
   * Send one frame, if the connection is open.
   * @param {[string | null, string | null, string, string, Payload]} frame
   */
  send(frame) {
    if (this.state === "open") this.#connection?.send(JSON.stringify(frame));
  }

  /** @param {SocketState} state */
  #enter(state) {
    this.state = state;
    this.emit("state", state);
  }

  /**
   * @param {string} name
   * @param {number} delayMs
   * @param {() => void} action
   */
  #after(name, delayMs, action) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(action, delayMs);
  }

  #dial() {
    clearTimeout(this.#timers.retry);
    const url = new URL(this.path, this.endpoint);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = String(new URLSearchParams({ ...this.params, vsn: "2.0.0" }));
    const connection = new WebSocket(url);
    this.#connection = connection;
    this.#enter("connecting");
    this.#after("connect", CONNECT_MS, () => this.#lost(connection));
    connection.onopen = () => this.#connection === connection && this.#opened(connection);
    connection.onclose = () => this.#lost(connection);
    connection.onmessage = ({ data }) => this.#connection === connection && typeof data === "string" && this.#receive(data);
  }

  /** @param {WebSocket} connection */
  #opened(connection) {
    clearTimeout(this.#timers.connect);
    this.#after("steady", STEADY_MS, () => (this.#failures = 0));
    this.#after("heartbeat", this.heartbeatMs, () => this.#heartbeat(connection));
    this.#enter("open");
    this.emit("open", this.endpoint);
    for (const channel of [...this.#channels]) channel.socketOpened();
  }

  /** @param {WebSocket} connection */
  #heartbeat(connection) {
    this.#heartbeatRef = this.makeRef();
    this.send([null, this.#heartbeatRef, "phoenix", "heartbeat", {}]);
    this.#after("heartbeat", this.timeoutMs, () => this.#lost(connection));
  }

  /** Let go of the connection without a word to anybody. */
  #drop() {
    this.#connection = null;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
  }

  /** @param {WebSocket} connection */
  #lost(connection) {
    if (this.#connection !== connection) return;
    const endpoint = this.endpoint;
    this.#drop();
    connection.close();
    this.#failures += 1;
    if (this.#failures > 1) this.#index = (this.#index + 1) % this.endpoints.length;
    const pauseMs = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** (this.#failures - 1));
    const delayMs = pauseMs * (0.5 + Math.random() / 2);
    this.#enter("waiting");
    this.emit("lost", { endpoint, failures: this.#failures, delayMs });
    for (const channel of [...this.#channels]) channel.socketLost();
    this.#after("retry", delayMs, () => this.#dial());
  }

  /** @param {string} text */
  #receive(text) {
    const [joinRef, ref, topic, event, payload] = JSON.parse(text);
    if (topic === "phoenix") {
      if (ref !== this.#heartbeatRef || !this.#connection) return;
      const connection = this.#connection;
      this.#after("heartbeat", this.heartbeatMs, () => this.#heartbeat(connection));
      return;
    }
    for (const channel of [...this.#channels]) {
      if (channel.topic === topic) channel.receive(joinRef, ref, event, payload);
    }
  }
}

/**
 * One topic of a socket.
 * Events: whatever the server sends, and "joined" (the reply; again after every rejoin), "down" (until the next
 * "joined"), "closed" (left, or ended by the server).
 */
export class Channel extends Emitter {
  /** @type {ChannelState} */
  state = "closed";
  /** @type {string | null} */
  #joinRef = null;
  #attempts = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #rejoin;
  /** @type {Map<string, (status: string, response: Payload) => void>} */
  #inFlight = new Map();
  /** @type {{ resolve: (reply: Payload) => void, reject: (error: PushError) => void } | null} */
  #first = null;

  /**
   * @param {Socket} socket
   * @param {string} topic
   * @param {Payload | (() => Payload)} params
   */
  constructor(socket, topic, params) {
    super();
    this.socket = socket;
    this.topic = topic;
    this.params = params;
  }

  /**
   * Join, and join again after every interruption until `leave`.
   * @returns {Promise<Payload>} the reply to the first join; rejected with PushError when the server refuses it or is silent (it is tried again all the same)
   */
  join() {
    if (this.state !== "closed") return Promise.reject(new Error(`${this.topic} is joined already`));
    this.state = "waiting";
    return new Promise((resolve, reject) => {
      this.#first = { resolve, reject };
      this.socketOpened();
    });
  }

  /**
   * Send an event and await the reply.
   * @param {string} event
   * @param {Payload} payload
   * @param {number} [timeoutMs]
   * @returns {Promise<Payload>} the response of an "ok" reply; rejected with PushError otherwise, at once when the channel is not joined
   */
  push(event, payload, timeoutMs = this.socket.timeoutMs) {
    if (this.state !== "joined") return Promise.reject(new PushError("closed"));
    return this.#request(this.socket.makeRef(), event, payload, timeoutMs);
  }

  /** Leave, and stay away. Resolves when the server has said goodbye, or cannot any more. */
  async leave() {
    clearTimeout(this.#rejoin);
    const said = this.state === "joined" || this.state === "joining";
    this.state = "leaving";
    if (said) await this.#request(this.socket.makeRef(), "phx_leave", {}, this.socket.timeoutMs).catch(() => undefined);
    this.#end();
  }

  /** The socket is open: join when that is wanted. */
  socketOpened() {
    clearTimeout(this.#rejoin);
    if (this.state === "waiting" && this.socket.state === "open") this.#join();
  }

  /** The socket is lost: nothing in flight will be answered. */
  socketLost() {
    clearTimeout(this.#rejoin);
    if (this.state !== "closed") this.#interrupt();
  }

  /**
   * A frame of this topic.
   * @param {string | null} joinRef
   * @param {string | null} ref
   * @param {string} event
   * @param {Payload} payload
   */
  receive(joinRef, ref, event, payload) {
    if (joinRef !== null && joinRef !== this.#joinRef) return;
    if (event === "phx_reply") this.#inFlight.get(ref ?? "")?.(payload.status, payload.response);
    else if (event === "phx_close") this.#end();
    else if (event === "phx_error") this.#retry();
    else if (this.state === "joined") this.emit(event, payload);
  }

  /**
   * @param {string} ref
   * @param {string} event
   * @param {Payload} payload
   * @param {number} timeoutMs
   * @returns {Promise<Payload>}
   */
  #request(ref, event, payload, timeoutMs) {
    return new Promise((resolve, reject) => {
      /** @type {(status: any, response: Payload) => void} */
      const settle = (status, response) => {
        clearTimeout(timer);
        this.#inFlight.delete(ref);
        if (status === "ok") resolve(response);
        else reject(new PushError(status, response));
      };
      const timer = setTimeout(settle, timeoutMs, "timeout", {});
      this.#inFlight.set(ref, settle);
      this.socket.send([this.#joinRef, ref, this.topic, event, payload]);
    });
  }

  async #join() {
    const ref = this.socket.makeRef();
    this.#joinRef = ref;
    this.state = "joining";
    const params = typeof this.params === "function" ? this.params() : this.params;
    try {
      const reply = await this.#request(ref, "phx_join", params, this.socket.timeoutMs);
      if (this.state !== "joining" || this.#joinRef !== ref) return;
      this.state = "joined";
      this.#attempts = 0;
      this.emit("joined", reply);
      this.#first?.resolve(reply);
      this.#first = null;
    } catch (error) {
      if (this.state !== "joining" || this.#joinRef !== ref) return;
      const failure = /** @type {PushError} */ (error);
      if (failure.status === "timeout") this.socket.send([ref, this.socket.makeRef(), this.topic, "phx_leave", {}]);
      this.#first?.reject(failure);
      this.#first = null;
      this.#retry();
    }
  }

  #interrupt() {
    const wasJoined = this.state === "joined";
    this.state = "waiting";
    for (const settle of [...this.#inFlight.values()]) settle("closed", {});
    if (wasJoined) this.emit("down");
  }

  #retry() {
    if (this.state === "leaving" || this.state === "closed") return;
    this.#interrupt();
    const delayMs = REJOIN_MS[Math.min(this.#attempts, REJOIN_MS.length - 1)];
    this.#attempts += 1;
    this.#rejoin = setTimeout(() => this.socketOpened(), delayMs * (0.5 + Math.random() / 2));
  }

  #end() {
    if (this.state === "closed") return;
    clearTimeout(this.#rejoin);
    this.#interrupt();
    this.state = "closed";
    this.#first?.reject(new PushError("closed"));
    this.#first = null;
    this.socket.forget(this);
    this.emit("closed");
  }
}

/**
 * Who is present on a channel: the server's "presence_state" and "presence_diff" merged. Kept in a Map, so a key such
 * as "__proto__" is a name like any other.
 * Events: "sync" (Present[]), "join" and "leave" ({ key, metas }).
 */
export class Presence extends Emitter {
  /** @type {Map<string, Payload[]>} */
  #metas = new Map();
  /** @type {Payload[] | null} */
  #early = [];

  /** @param {Channel} channel */
  constructor(channel) {
    super();
    channel.on("joined", () => (this.#early = []));
    channel.on("presence_state", (state) => this.#replace(state));
    channel.on("presence_diff", (diff) => (this.#early ? this.#early.push(diff) : this.#change(diff)));
  }

  /**
   * Everybody present, longest-known first.
   * @returns {Present[]}
   */
  list() {
    return [...this.#metas].map(([key, metas]) => ({ key, metas }));
  }

  /** @param {Payload} state */
  #replace(state) {
    const before = this.#metas;
    this.#metas = new Map(Object.entries(state).map(([key, { metas }]) => [key, metas]));
    for (const [key, metas] of before) if (!this.#metas.has(key)) this.emit("leave", { key, metas });
    for (const [key, metas] of this.#metas) if (!before.has(key)) this.emit("join", { key, metas });
    const early = this.#early ?? [];
    this.#early = null;
    for (const diff of early) this.#merge(diff);
    this.emit("sync", this.list());
  }

  /** @param {Payload} diff */
  #change(diff) {
    this.#merge(diff);
    this.emit("sync", this.list());
  }

  /** @param {Payload} diff */
  #merge({ joins, leaves }) {
    for (const [key, { metas }] of Object.entries(joins)) {
      const known = this.#metas.get(key);
      const refs = new Set(metas.map((/** @type {Payload} */ meta) => meta.phx_ref));
      this.#metas.set(key, [...(known ?? []).filter((meta) => !refs.has(meta.phx_ref)), ...metas]);
      if (!known) this.emit("join", { key, metas });
    }
    for (const [key, { metas }] of Object.entries(leaves)) {
      const refs = new Set(metas.map((/** @type {Payload} */ meta) => meta.phx_ref));
      const left = (this.#metas.get(key) ?? []).filter((meta) => !refs.has(meta.phx_ref));
      if (left.length > 0) this.#metas.set(key, left);
      else if (this.#metas.delete(key)) this.emit("leave", { key, metas });
    }
  }
}
