// What the official Phoenix client sees of a cluster when it polls: at one node, and at two that take turns.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { LongPoll, Serializer, Socket } from "phoenix";

const { ROOST_A, ROOST_B } = process.env;
const { fetch } = globalThis;
const sockets = [];
const asked = [];
let front = [ROOST_A];
let rooms = 0;

/** A balancer that knows nothing of sessions: request by request, the next node. */
globalThis.fetch = (url, options) => {
  const target = front[asked.length % front.length];
  asked.push(target);
  return fetch(String(url).replace(ROOST_A, target), options);
};

function connect({ decode, ...options } = {}) {
  const socket = new Socket(`${ROOST_A}/socket`, { transport: LongPoll, timeout: 5000, ...options });
  if (decode) socket.decode = decode; // its constructor ignores the option when it polls
  sockets.push(socket);
  socket.connect();
  return socket;
}

afterEach(async () => {
  await Promise.all(sockets.splice(0).map((socket) => new Promise((done) => socket.disconnect(done))));
});

const freshRoom = () => `room:poll-${process.pid}-${++rooms}`;

function reply(push) {
  return new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout"]) push.receive(status, (payload) => resolve([status, payload]));
  });
}

const next = (channel, event) => new Promise((resolve) => channel.on(event, resolve));

async function join(topic, options) {
  const channel = connect(options).channel(topic, {});
  assert.deepEqual(await reply(channel.join()), ["ok", {}]);
  return channel;
}

const bytes = (...numbers) => new Uint8Array(numbers).buffer;

/** Reads binary frames in their encoded form, which `binary=base64` asks for. */
const binary = {
  params: { binary: "base64" },
  decode(message, done) {
    if (/^[[{]/.test(message)) return Serializer.decode(message, done);
    return Serializer.decode(Uint8Array.from(atob(message), (character) => character.charCodeAt(0)).buffer, done);
  },
};

for (const [where, nodes] of [["at one node", [ROOST_A]], ["at two nodes in turn", [ROOST_A, ROOST_B]]]) {
  const story = (name, run) =>
    test(`${name}, ${where}`, { timeout: 20_000 }, async () => {
      front = nodes;
      asked.length = 0;
      await run();
      assert.deepEqual([...new Set(asked)].sort(), [...new Set(nodes)].sort());
    });

  story("pushes are answered in their order", async () => {
    const channel = await join(freshRoom());
    const pushes = Array.from({ length: 250 }, (_, n) => reply(channel.push("echo", { n, text: "ø\u2028" })));
    const replies = await Promise.all(pushes);
    assert.deepEqual(replies, replies.map((_, n) => ["ok", { n, text: "ø\u2028" }]));
  });

  story("a broadcast reaches everybody, a push only its client", async () => {
    const topic = freshRoom();
    const [one, other] = [await join(topic), await join(topic)];
    const [heard, overheard, pushed] = [next(one, "shouted"), next(other, "shouted"), next(one, "pushed")];
    other.on("pushed", () => assert.fail("not for this one"));
    await Promise.all([reply(one.push("shout", { n: 1 })), reply(one.push("push", { n: 2 }))]);
    assert.deepEqual(await Promise.all([heard, overheard, pushed]), [{ n: 1 }, { n: 1 }, { n: 2 }]);
  });

  story("after a leave nothing of the topic arrives, and it can be joined again", async () => {
    const topic = freshRoom();
    const [one, other] = [await join(topic), await join(topic)];
    other.on("shouted", () => assert.fail("it has left"));
    assert.equal((await reply(other.leave()))[0], "ok");
    await reply(one.push("shout", {}));
    const back = other.socket.channel(topic, {});
    assert.equal((await reply(back.join()))[0], "ok");
    const heard = next(back, "shouted");
    await reply(one.push("shout", { n: 2 }));
    assert.deepEqual(await heard, { n: 2 });
  });

  story("bytes go there, and come back spelled out", async () => {
    const channel = await join(freshRoom());
    const raw = next(channel, "raw");
    assert.deepEqual(await reply(channel.push("echo", bytes(0, 255, 254))), ["ok", { base64: "AP/+" }]);
    await reply(channel.push("bytes", { as: "broadcast", data: [255, 0] }));
    assert.deepEqual(await raw, { base64: "/wA=" });
  });

  story("bytes come back as bytes when the client says that it can read them", async () => {
    const channel = await join(freshRoom(), binary);
    const raw = next(channel, "raw");
    assert.deepEqual(await reply(channel.push("echo", bytes(0, 255, 254))), ["ok", bytes(0, 255, 254)]);
    await reply(channel.push("bytes", { as: "push", data: [255, 0] }));
    assert.deepEqual(await raw, bytes(255, 0));
    assert.deepEqual(await reply(channel.push("echo", { text: true })), ["ok", { text: true }]);
  });

  story("a channel that crashes is joined again", async () => {
    const channel = await join(freshRoom(), { rejoinAfterMs: () => 10 });
    const crashed = new Promise((resolve) => channel.onError(resolve));
    channel.push("crash", {});
    await crashed;
    while (!channel.isJoined()) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(await reply(channel.push("echo", { n: 1 })), ["ok", { n: 1 }]);
  });

  story("a client that is disconnected connects and joins again", async () => {
    const name = `ada-${process.pid}-${++rooms}`;
    const channel = await join(freshRoom(), { params: { name }, rejoinAfterMs: () => 10 });
    const closed = new Promise((resolve) => channel.socket.onClose(resolve));
    channel.push("kick", { name: `user:${name}` });
    await closed;
    while (!channel.isJoined()) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(await reply(channel.push("echo", { n: 1 })), ["ok", { n: 1 }]);
  });
}

test("a client that is kept out is told so, and not let in", { timeout: 20_000 }, async () => {
  front = [ROOST_A];
  const socket = connect({ params: { refuse: "yes" } });
  const [error] = await Promise.all([new Promise((resolve) => socket.onError(resolve))]);
  assert.equal(error, 403);
  assert.equal(socket.isConnected(), false);
});
