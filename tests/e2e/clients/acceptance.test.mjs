// What the official Phoenix client (V2), by WebSocket and by long poll, sees of the application in acceptance.py, which
// runs on two nodes: ROOST_A and ROOST_B.

import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import { LongPoll, Presence, Socket } from "phoenix";
import WebSocket from "ws";

const { ROOST_A, ROOST_B } = process.env;
const sockets = [];
let topics = 0;

const freshTopic = (transport) => `room:${transport.name}-${process.pid}-${(topics += 1)}`;
const bytes = (buffer) => [...new Uint8Array(buffer)];

/** The reply to a push or a join: [status, response], whatever the status is. */
const reply = (push, ...more) =>
  new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout", ...more]) push.receive(status, (response) => resolve([status, response]));
  });

/** The next payload of an event. */
const next = (channel, event) =>
  new Promise((resolve) => {
    const ref = channel.on(event, (payload) => {
      channel.off(event, ref);
      resolve(payload);
    });
  });

/** The reply to the next join of a channel that is joined already. */
const rejoined = (channel) =>
  new Promise((resolve) => {
    let count = 0; // what has been received already is told at once
    channel.joinPush.receive("ok", (response) => (count += 1) > 1 && resolve(response));
  });

/** Waits until a presence list satisfies a condition. */
const present = (presence, condition) =>
  new Promise((resolve) => {
    const look = () => condition(presence.state) && resolve();
    presence.onSync(look);
    look();
  });

for (const transport of [WebSocket, LongPoll]) {
  const polls = transport === LongPoll;

  const connect = (web, options = {}) => {
    const address = `${web.replace("http", "ws")}/socket`;
    const socket = new Socket(address, { transport, timeout: 8000, ...options });
    sockets.push(socket);
    socket.connect();
    return socket;
  };

  const join = async (web, topic, name, options) => {
    const channel = connect(web, options).channel(topic, { name });
    const [status, response] = await reply(channel.join());
    assert.equal(status, "ok", JSON.stringify(response));
    return channel;
  };

  describe(polls ? "long poll" : "websocket", () => {
    afterEach(() => Promise.all(sockets.splice(0).map((socket) => new Promise((done) => socket.disconnect(done)))));

    test("a join is answered, and what was pushed meanwhile comes after it", async () => {
      const channel = connect(ROOST_A, { params: { user: "ada" } }).channel(freshTopic(transport), { name: "Ada" });
      const order = [];
      channel.on("welcome", () => order.push("welcome"));
      const welcome = next(channel, "welcome");
      const [status, response] = await reply(channel.join().receive("ok", () => order.push("ok")));
      assert.deepEqual([status, response], ["ok", { name: "Ada", node: "a@127.0.0.1", user: "ada" }]);
      assert.deepEqual(await welcome, { name: "Ada" });
      assert.deepEqual(order, ["ok", "welcome"]);
    });

    test("the token arrives without being in the address", async () => {
      const channel = connect(ROOST_A, { authToken: "t~o~k>?" }).channel(freshTopic(transport), {});
      assert.equal((await reply(channel.join()))[1].user, "t~o~k>?");
    });

    test("a refused join and a topic that nobody serves say why", async () => {
      const socket = connect(ROOST_A);
      assert.deepEqual(await reply(socket.channel(freshTopic(transport), { refuse: true }).join()), ["error", { reason: "not today" }]);
      assert.deepEqual(await reply(socket.channel("nobody:here").join()), ["error", { reason: "unmatched topic" }]);
    });

    test("a refused connection never opens", async () => {
      const socket = connect(ROOST_A, { params: { user: "mallory" } });
      await new Promise((resolve) => socket.onError(resolve));
      assert.equal(socket.isConnected(), false);
    });

    test("replies: payload, refusal, a status of one's own, and one that comes late", async () => {
      const channel = await join(ROOST_A, freshTopic(transport), "Ada");
      assert.deepEqual(await reply(channel.push("echo", { deep: [1, "ø", null] })), ["ok", { deep: [1, "ø", null] }]);
      assert.deepEqual(await reply(channel.push("refuse", {})), ["error", { reason: "no" }]);
      assert.deepEqual(await reply(channel.push("status", { status: "sold_out" }), "sold_out"), ["sold_out", { left: 0 }]);
      const late = reply(channel.push("later", {}));
      assert.equal((await reply(channel.push("now", {})))[0], "ok");
      assert.deepEqual(await late, ["ok", { late: true }]);
    });

    test("broadcasts reach both nodes in order; whispers spare the sender; an intercepted one is told to each", async () => {
      const topic = freshTopic(transport);
      const ada = await join(ROOST_A, topic, "Ada");
      const bo = await join(ROOST_B, topic, "Bo");
      const heard = { ada: [], bo: [] };
      ada.on("shouted", ({ n }) => heard.ada.push(n));
      bo.on("shouted", ({ n }) => heard.bo.push(n));
      ada.on("whispered", () => heard.ada.push("whisper"));
      const last = new Promise((resolve) => bo.on("whispered", resolve));
      for (let n = 0; n < 50; n += 1) ada.push("shout", { n });
      await reply(ada.push("whisper", {}));
      await last;
      const all = Array.from({ length: 50 }, (_, n) => n);
      assert.deepEqual(heard, { ada: all, bo: all });
      const told = [next(ada, "secret_told"), next(bo, "secret_told")];
      ada.push("secret", { word: "xyzzy" });
      assert.deepEqual(await Promise.all(told), [{ word: "xyzzy", to: "Ada" }, { word: "xyzzy", to: "Bo" }]);
    });

    test("bytes travel to the server; back as bytes, or spelled out where only text can travel", async () => {
      const topic = freshTopic(transport);
      const ada = await join(ROOST_A, topic, "Ada");
      const bo = await join(ROOST_B, topic, "Bo");
      const data = Uint8Array.from({ length: 300 }, (_, index) => index % 256);
      const read = (got) => (polls ? bytes(Buffer.from(got.base64, "base64")) : bytes(got));
      assert.deepEqual(read((await reply(ada.push("echo", data.buffer)))[1]), [...data]);
      const shouted = [next(ada, "shouted"), next(bo, "shouted")];
      ada.push("shout", data.buffer);
      for (const got of await Promise.all(shouted)) assert.deepEqual(read(got), [...data]);
    });

    test("a channel that crashes is joined again; one that stops is not", async () => {
      const channel = await join(ROOST_A, freshTopic(transport), "Ada");
      const again = rejoined(channel);
      channel.push("crash", {});
      await again;
      assert.equal(channel.state, "joined");
      const closed = new Promise((resolve) => channel.onClose(resolve));
      assert.deepEqual(await reply(channel.push("stop", {})), ["ok", { bye: "Ada" }]);
      await closed;
      assert.equal(channel.state, "closed");
    });

    test("leaving and joining anew, also while still joined, ends in one channel", async () => {
      const topic = freshTopic(transport);
      const first = await join(ROOST_A, topic, "Ada");
      const second = first.socket.channel(topic, { name: "Ada2" });
      assert.equal((await reply(second.join()))[1].name, "Ada2");
      const heard = [];
      first.on("shouted", () => heard.push("first"));
      second.on("shouted", () => heard.push("second"));
      await reply(second.push("shout", {}));
      assert.equal((await reply(second.leave()))[0], "ok");
      assert.deepEqual(heard, ["second"]);
    });

    test("presence: both nodes show the same, an update replaces, the last leave removes", async () => {
      const topic = freshTopic(transport);
      const ada = await join(ROOST_A, topic, "Ada");
      const list = new Presence(ada);
      const bo = await join(ROOST_B, topic, "Bo");
      const theirs = new Presence(bo);
      const both = ({ Ada, Bo }) => Ada && Bo;
      await Promise.all([present(list, both), present(theirs, both)]);
      bo.push("mood", { mood: "glad" });
      await present(list, ({ Bo }) => Bo.metas.length === 1 && Bo.metas[0].mood === "glad" && Bo.metas[0].phx_ref_prev);
      await reply(bo.leave());
      await present(list, ({ Bo }) => !Bo);
    });

    test("disconnecting a user closes its connections on every node; the client comes back by itself", async () => {
      const topic = freshTopic(transport);
      const user = `u${topics}`;
      const ada = await join(ROOST_A, topic, "Ada", { params: { user } });
      const bo = await join(ROOST_B, topic, "Bo");
      const closed = new Promise((resolve) => ada.socket.onClose(resolve));
      const back = rejoined(ada);
      await reply(bo.push("kick", { user }));
      const { code } = await closed;
      if (!polls) assert.equal(code, 1001);
      await back;
      assert.equal(bo.socket.isConnected(), true);
    });
  });
}
