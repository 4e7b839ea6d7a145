/** Why a push or a join did not succeed: "error" (the server refused), "timeout", "closed" (the connection or the channel went away), or a status of the application's own. */
export class PushError extends Error {
    /**
     * @param {string} status
     * @param {Payload} response what the server said, or {}
     */
    constructor(status: string, response?: Payload);
    status: string;
    response: Payload;
}
/**
 * One connection to one of several equal endpoints, kept open until `disconnect`.
 * Events: "state" (SocketState), "open" (endpoint), "lost" ({ endpoint, failures, delayMs }).
 */
export class Socket extends Emitter {
    /**
     * @param {string | string[]} endpoints origins such as "http://127.0.0.1:4000", the preferred one first; or, with where the socket is, "https://example.org/socket" and, on a page of the same host, "/socket"
     * @param {SocketOptions} [options]
     */
    constructor(endpoints: string | string[], options?: SocketOptions);
    /** @type {SocketState} */
    state: SocketState;
    endpoints: string[];
    path: string;
    params: Payload | (() => Payload | Promise<Payload>);
    authToken: string | (() => string | Promise<string>) | undefined;
    longPoll: boolean;
    heartbeatMs: number;
    timeoutMs: number;
    /** The endpoint in use, or the one to be tried next. */
    get endpoint(): string;
    /**
     * Replace the endpoints; the connection in use stays.
     * @param {string[]} endpoints
     */
    setEndpoints(endpoints: string[]): void;
    /** Open the connection and keep it open. */
    connect(): void;
    /** Close the connection for good. */
    disconnect(): void;
    /**
     * A channel of this socket; `join` it to hear something.
     * @param {string} topic
     * @param {Payload | (() => Payload)} [params] sent with every join and rejoin
     */
    channel(topic: string, params?: Payload | (() => Payload)): Channel;
    /** @param {Channel} channel */
    forget(channel: Channel): void;
    /** A reference that this socket has not used yet. */
    makeRef(): string;
    /**
     * Send one frame, if the connection is open.
     * @param {Frame} frame
     */
    send(frame: Frame): void;
    #private;
}
/**
 * One topic of a socket.
 * Events: whatever the server sends, and "joined" (the reply; again after every rejoin), "down" (until the next
 * "joined"), "refused" (PushError, at every join that fails; it is tried again), "closed" (left, or ended by the server).
 */
export class Channel extends Emitter {
    /**
     * @param {Socket} socket
     * @param {string} topic
     * @param {Payload | (() => Payload)} params
     */
    constructor(socket: Socket, topic: string, params: Payload | (() => Payload));
    /** @type {ChannelState} */
    state: ChannelState;
    socket: Socket;
    topic: string;
    params: Payload | (() => Payload);
    /**
     * Join, and join again after every interruption until `leave`.
     * @returns {Promise<Payload>} the reply to the first join; rejected with PushError when the server refuses it or is silent (it is tried again all the same)
     */
    join(): Promise<Payload>;
    /**
     * Send an event and await the reply.
     * @param {string} event
     * @param {Message | ArrayBufferView} payload an object, or bytes
     * @param {number} [timeoutMs]
     * @returns {Promise<any>} the response of an "ok" reply, an object or an ArrayBuffer; rejected with PushError otherwise, at once when the channel is not joined
     */
    push(event: string, payload: Message | ArrayBufferView, timeoutMs?: number): Promise<any>;
    /** Leave, and stay away. Resolves when the server has said goodbye, or cannot any more. */
    leave(): Promise<void>;
    /** The socket is open: join when that is wanted. */
    socketOpened(): void;
    /** The socket is lost: nothing in flight will be answered. */
    socketLost(): void;
    /**
     * A frame of this topic.
     * @param {string | null} joinRef
     * @param {string | null} ref
     * @param {string} event
     * @param {any} payload
     */
    receive(joinRef: string | null, ref: string | null, event: string, payload: any): void;
    #private;
}
/**
 * Who is present on a channel: the server's "presence_state" and "presence_diff" merged. Kept in a Map, so a key such
 * as "__proto__" is a name like any other.
 * Events: "sync" (Present[]), "join" and "leave" (Present).
 */
export class Presence extends Emitter {
    /** @param {Channel} channel */
    constructor(channel: Channel);
    /**
     * Everybody present, longest-known first.
     * @returns {Present[]}
     */
    list(): Present[];
    #private;
}
/**
 * an object that JSON can express
 */
export type Payload = Record<string, any>;
/**
 * what an event carries: an object, or bytes
 */
export type Message = Payload | ArrayBuffer;
/**
 * a name, its places, and what the server's `fetch` adds
 */
export type Present = {
    key: string;
    metas: Payload[];
    [more: string]: any;
};
export type ChannelState = "closed" | "waiting" | "joining" | "joined" | "leaving";
export type SocketState = "closed" | "connecting" | "open" | "waiting";
/**
 * join_ref, ref, topic, event, payload
 */
export type Frame = [string | null, string | null, string, string, any];
export type Transport = {
    send: (data: string | ArrayBuffer) => void;
    close: (code?: number) => void;
    onopen: (() => void) | null;
    onclose: (() => void) | null;
    onmessage: ((event: {
        data: any;
    }) => void) | null;
};
export type SocketOptions = {
    /**
     * where the server has its socket, for endpoints that do not say it: "/socket"
     */
    path?: string | undefined;
    /**
     * sent with every dial
     */
    params?: Payload | (() => Payload | Promise<Payload>) | undefined;
    /**
     * sent with every dial, where no log sees it
     */
    authToken?: string | (() => string | Promise<string>) | undefined;
    /**
     * whether to poll where no WebSocket gets through
     */
    longPoll?: boolean | undefined;
    heartbeatMs?: number | undefined;
    /**
     * how long a reply may take
     */
    timeoutMs?: number | undefined;
};
/** Named listeners. */
declare class Emitter {
    /**
     * Call `listener` at every `event`.
     * @param {string} event
     * @param {(detail: any) => void} listener
     * @returns {() => void} stops it again
     */
    on(event: string, listener: (detail: any) => void): () => void;
    /**
     * @param {string} event
     * @param {any} [detail]
     */
    emit(event: string, detail?: any): void;
    #private;
}
export {};
