// What roost.js sees of the application in acceptance.py on the nodes ROOST_A and ROOST_B, by both of its transports.

import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import WebSocket from "ws";

const { ROOST_A, ROOST_B, ROOST_CLIENT } = process.env;
const { Presence, Socket } = await import(ROOST_CLIENT);
const sockets = [];
let topics = 0;

const freshTopic = () => `room:roost-${process.pid}-${(topics += 1)}`;
const next = (emitter, event) => new Promise((resolve) => { const off = emitter.on(event, (detail) => { off(); resolve(detail); }); });

/** A network that lets no WebSocket through. */
class Blocked {
  constructor() {
    setImmediate(() => this.onclose?.());
  }

  close() {}
}

for (const [name, transport] of [["websocket", WebSocket], ["long poll", Blocked]]) {
  describe(name, () => {
    afterEach(() => sockets.splice(0).forEach((socket) => socket.disconnect()));

    const join = async (web, topic, params, options) => {
      globalThis.WebSocket = transport;
      const socket = new Socket(web, options);
      sockets.push(socket);
      socket.connect();
      const channel = socket.channel(topic, params);
      return [channel, await channel.join()];
    };

    test("join, replies, broadcasts and bytes", async () => {
      const topic = freshTopic();
      const [ada, welcome] = await join(ROOST_A, topic, { name: "Ada" }, { authToken: async () => "secret" });
      assert.deepEqual(welcome, { name: "Ada", node: "a@127.0.0.1", user: "secret" });
      const [bo] = await join(ROOST_B, topic, { name: "Bo" });
      assert.deepEqual(await ada.push("echo", { x: 1 }), { x: 1 });
      await assert.rejects(ada.push("refuse", {}), { status: "error", message: "no" });
      await assert.rejects(ada.push("status", { status: "sold_out" }), { status: "sold_out", response: { left: 0 } });
      const data = Uint8Array.from({ length: 300 }, (_, index) => index % 256);
      assert.deepEqual(new Uint8Array(await ada.push("echo", data)), data);
      const heard = next(bo, "shouted");
      await ada.push("shout", data);
      assert.deepEqual(new Uint8Array(await heard), data);
    });

    test("presence, a crash, and a disconnect from which it comes back", async () => {
      const topic = freshTopic();
      const user = `roost-${name}`;
      const [ada] = await join(ROOST_A, topic, { name: "Ada" }, { params: { user } });
      const people = new Presence(ada);
      const names = () => people.list().map(({ key }) => key).sort().join();
      const shows = (wanted) => new Promise((resolve) => { const look = () => names() === wanted && resolve(); people.on("sync", look); look(); });
      const [bo] = await join(ROOST_B, topic, { name: "Bo" });
      await shows("Ada,Bo");
      let again = next(ada, "joined");
      await assert.rejects(ada.push("crash", {}), { status: "closed" });
      await again;
      again = next(ada, "joined");
      await bo.push("kick", { user });
      await again;
      await bo.leave();
      await shows("Ada");
    });
  });
}
