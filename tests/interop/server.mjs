// A subscriptions server that is not ours to bend: graphql-ws and ws as published, with an in-memory pub/sub behind.
//
//   node server.mjs [PORT] [drop=N|duplicate=N|max-payload=BYTES]
//
// PORT defaults to 4000; 0 picks a free one. With drop=N it does not deliver its Nth event, on purpose and once;
// with duplicate=N it delivers it twice; with max-payload=BYTES
// it takes no larger message. Payloads shorter than 100 bytes are no events to it.
//
// It listens on 127.0.0.1 only, says where on its first line, and leaves when its standard input ends, so that it
// cannot outlive the test that started it.
//
//   ws://127.0.0.1:PORT/graphql     subscribe and publish, protocol graphql-transport-ws
//   POST /graphql                   publish over HTTP
//   GET  /stats                     its own counts

import { createServer } from "node:http";
import process from "node:process";
import { buildSchema, graphql } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";

const schema = buildSchema(`
  type Event { payload: String! }
  type Published { id: ID! }
  type Query { channels: Int! }
  type Mutation { publish(channel: String!, payload: String!): Published! }
  type Subscription { event(channel: String!): Event! }
`);

const [fault, nth] = (process.argv[3] ?? "honest=0").split("=");
let events = 0;

/** How often to deliver a payload: once, unless this is the one that was asked for. */
function copies(payload) {
  if (payload.length < 100) return 1;
  events += 1;
  if (events !== Number(nth) || fault === "max-payload") return 1;
  return { drop: 0, duplicate: 2 }[fault];
}

const stats = { connections: 0, subscriptions: 0, published: 0, delivered: 0 };
const channels = new Map();

/** Items wait here from the moment of subscribing, not from the first `next()`: nothing published between is lost. */
class Subscriber {
  #items = [];
  #waiting = null;
  #done = false;
  #channel;

  constructor(channel) {
    this.#channel = channel;
    if (!channels.has(channel)) channels.set(channel, new Set());
    channels.get(channel).add(this);
    stats.subscriptions += 1;
  }

  push(payload) {
    const item = { value: { event: { payload } }, done: false };
    if (this.#waiting) {
      this.#waiting(item);
      this.#waiting = null;
    } else {
      this.#items.push(item);
    }
  }

  async next() {
    if (this.#items.length > 0) return this.#items.shift();
    if (this.#done) return { value: undefined, done: true };
    return new Promise((resolve) => { this.#waiting = resolve; });
  }

  async return() {
    if (!this.#done) {
      this.#done = true;
      stats.subscriptions -= 1;
      const members = channels.get(this.#channel);
      members.delete(this);
      if (members.size === 0) channels.delete(this.#channel);
      this.#waiting?.({ value: undefined, done: true });
      this.#waiting = null;
    }
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}

const roots = {
  query: { channels: () => channels.size },
  mutation: {
    publish: ({ channel, payload }) => {
      stats.published += 1;
      for (const subscriber of channels.get(channel) ?? []) {
        for (let left = copies(payload); left > 0; left -= 1) subscriber.push(payload);
      }
      return { id: String(stats.published) };
    },
  },
  subscription: { event: ({ channel }) => new Subscriber(channel) },
};

const http = createServer(async (request, response) => {
  const path = request.url.split("?")[0];
  if (request.method === "GET" && path === "/stats") return answer(response, 200, stats);
  if (request.method !== "POST" || path !== "/graphql") return answer(response, 404, { error: "not found" });
  try {
    const { query, variables, operationName } = JSON.parse(await body(request));
    const rootValue = { ...roots.query, ...roots.mutation };
    const result = await graphql({
      schema, rootValue, source: query, variableValues: variables, operationName,
    });
    return answer(response, 200, result);
  } catch (error) {
    return answer(response, 400, { errors: [{ message: error.message }] });
  }
});

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

function answer(response, status, value) {
  const text = JSON.stringify(value);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

// Without a limit given, that of ws: 100 MiB.
const limit = fault === "max-payload" ? { maxPayload: Number(nth) } : {};
const sockets = new WebSocketServer({ server: http, path: "/graphql", ...limit });
sockets.on("connection", (socket) => {
  stats.connections += 1;
  socket.on("close", () => { stats.connections -= 1; });
});
useServer(
  {
    schema,
    roots,
    // Replies to mutations pass here too; only what a subscription sends is a delivery.
    onNext: (_context, _id, _payload, _args, result) => {
      if (result.data?.event) stats.delivered += 1;
    },
  },
  sockets,
);

http.listen({ host: "127.0.0.1", port: Number(process.argv[2] ?? 4000), backlog: 4096 }, () => {
  console.log(`listening on ws://127.0.0.1:${http.address().port}/graphql`);
});

process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
