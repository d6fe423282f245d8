// Written from the protocol's declarations: UPDATE_DOCS=1 cargo test -p vyuha-protocol --test web

/** A whole number of 64 bits: a bigint where a number would not be exact. */
export type Int64 = number | bigint;

/** A character in a list. */
export interface CharacterSummary {
  /** The character's id. */
  character: Int64;
  /** The character's name. */
  name: string;
  /** The zone it stands in. */
  zone: number;
}

/** An inventory slot's content. */
export interface InventorySlot {
  /** 0 to 27. */
  slot: number;
  /** The item's kind. */
  kind: number;
  /** How many; 0 if the slot is empty. */
  count: number;
}

/** Opens a connection: what the client speaks and holds. Answered by `Welcome` or an `Error` and close. */
export interface Hello {
  /** The client's `PROTOCOL_VERSION`. */
  version: number;
  /** SHA-256 of the client's content, as the server computes it. */
  content_hash: Uint8Array;
}

/** Registers an account. Answered by `AccountRegistered`. */
export interface RegisterAccount {
  /** Rises with each request of the connection. */
  request: number;
  /** 3 to 32 of a-z, 0-9, '_', '.', '-'; upper case is taken as lower case. */
  account: string;
  /** 8 to 128 bytes. */
  password: string;
}

/** Signs in. Answered by `LoggedIn`. */
export interface Login {
  /** Rises with each request of the connection. */
  request: number;
  /** The account's name. */
  account: string;
  /** The account's password. */
  password: string;
}

/** Signs in with a ticket of the HTTP API (`POST /api/v1/tickets`) in place of a password. Answered by `LoggedIn`; refused with `TicketRequired` if the ticket is unknown, was used or is too old. */
export interface RedeemTicket {
  /** Rises with each request of the connection. */
  request: number;
  /** The ticket as the API gave it. */
  ticket: string;
}

/** Asks for the account's characters. Answered by `Characters`. */
export interface ListCharacters {
  /** Rises with each request of the connection. */
  request: number;
}

/** Creates a character. Answered by `CharacterCreated`. */
export interface CreateCharacter {
  /** Rises with each request of the connection. */
  request: number;
  /** 3 to 16 letters, digits or single inner spaces, beginning with a letter; unique whatever the case. */
  name: string;
}

/** Enters the world. Answered by `EnteredZone`; a session of the account elsewhere is ended first. */
export interface SelectCharacter {
  /** Rises with each request of the connection. */
  request: number;
  /** The character's id, from `Characters`. */
  character: Int64;
}

/** Takes up a session whose connection broke, from any address, instead of signing in. Answered by `Resumed`; refused with `ResumeRefused`, after which the connection can sign in as usual. */
export interface Resume {
  /** The newest ticket that the client got. */
  ticket: Uint8Array;
  /** Numbered messages received since the session began, as `is_numbered` counts them. */
  received: number;
}

/** One step's steering. The server takes one a tick, in order; never answered, but acknowledged by the next snapshot's `input_ack`. */
export interface Input {
  /** Rises by one a step, from 1. */
  sequence: number;
  /** Eastward, -127 to 127. */
  heading_x: number;
  /** Southward, -127 to 127. */
  heading_y: number;
}

/** Says something to those near. Answered by `Done`; those near, the speaker too, get `Said`. */
export interface Say {
  /** Rises with each request of the connection. */
  request: number;
  /** 1 to 200 bytes without control characters. */
  text: string;
}

/** Picks up an item from the ground within reach. Answered by `PickedUp` once that is durable. */
export interface PickUp {
  /** Rises with each request of the connection. */
  request: number;
  /** The item's entity, as the snapshots name it. */
  entity: number;
}

/** Drops items from an inventory slot to the ground. Answered by `Dropped` once that is durable. */
export interface Drop {
  /** Rises with each request of the connection. */
  request: number;
  /** The slot, 0 to 27. */
  slot: number;
  /** How many, at least 1. */
  count: number;
}

/** Asks for a sign of life, at any stage. Answered by `Pong`. */
export interface Ping {
  /** Echoed. */
  stamp: Int64;
}

/** Leaves in good order. Answered by `LoggedOut` once the character is saved; then the server closes. */
export interface Logout {
  /** Rises with each request of the connection. */
  request: number;
}

/** Tells how many messages arrived, so that the server need not keep them for a `Resume`. Never answered. To be sent after `Resumed` and then at least once for each 8 KiB of numbered messages: of a client that leaves it out what was kept is dropped at a bound, and its session ends with its connection. */
export interface Acknowledge {
  /** Numbered messages received since the session began, as `is_numbered` counts them. */
  received: number;
}

/** The answer to `Hello`. */
export interface Welcome {
  /** The server's `PROTOCOL_VERSION`. */
  version: number;
  /** The server's build, for people. */
  build: string;
}

/** An account was registered. */
export interface AccountRegistered {
  /** The request's id. */
  request: number;
}

/** The client is signed in. */
export interface LoggedIn {
  /** The request's id. */
  request: number;
  /** The account's id. */
  account: Int64;
}

/** The account's characters. */
export interface Characters {
  /** The request's id. */
  request: number;
  /** In order of creation. */
  characters: CharacterSummary[];
}

/** A character was created. */
export interface CharacterCreated {
  /** The request's id. */
  request: number;
  /** The new character's id. */
  character: Int64;
}

/** The character stands in its zone; snapshots follow. Also without a request, when it walked through a gate: the zone and all that is seen are new, requests and inputs go on with their numbers. */
export interface EnteredZone {
  /** The request's id; 0 if the character walked there. */
  request: number;
  /** The zone's number. */
  zone: number;
  /** Steps a second in this zone, and snapshots. */
  tick_hz: number;
  /** Position units a step at full deflection. */
  speed: number;
  /** The character's entity. */
  entity: number;
  /** Position units from the western edge. */
  x: number;
  /** Position units from the northern edge. */
  y: number;
  /** What the character carries; slots not named are empty. Empty when it walked there: nothing of it has changed. */
  inventory: InventorySlot[];
}

/** What takes the session up again if its connection breaks, once. The session begins here: numbered messages are counted from this one on. */
export interface Ticket {
  /** A secret. */
  ticket: Uint8Array;
}

/** The session goes on; the numbered messages that the client lacks follow in order, then full snapshots. */
export interface Resumed {
  /** Takes the place of the one that was used, once anything was received after this. */
  ticket: Uint8Array;
  /** The last request that the server received. Those after it are to be sent again, no others: their answers follow. */
  request: number;
}

/** A request was carried out that needs no other answer. */
export interface Done {
  /** The request's id. */
  request: number;
}

/** Somebody near said something. */
export interface Said {
  /** The speaker's entity. */
  entity: number;
  /** The speaker's name. */
  name: string;
  /** What was said. */
  text: string;
}

/** An item was picked up, durably. */
export interface PickedUp {
  /** The request's id. */
  request: number;
  /** The entity that was picked up. */
  entity: number;
  /** The slot it went to, as it is now. */
  slot: InventorySlot;
}

/** Items were dropped, durably. */
export interface Dropped {
  /** The request's id. */
  request: number;
  /** The entity that now lies on the ground. */
  entity: number;
  /** The slot as it is now; a count of 0 if it is empty. */
  slot: InventorySlot;
}

/** The answer to `Ping`. */
export interface Pong {
  /** The ping's stamp. */
  stamp: Int64;
}

/** The character is saved; the server closes the connection. */
export interface LoggedOut {
  /** The request's id. */
  request: number;
}

/** A request was refused, or, with `closing`, the connection ends. */
export interface Error {
  /** The request's id; 0 if it was not a request's. */
  request: number;
  /** An `ErrorCode`'s number. */
  code: number;
  /** Whether the server closes the connection. */
  closing: boolean;
  /** For people. */
  text: string;
}

/** What a client says, by name. */
export interface ClientMessages {
  Hello: Hello;
  RegisterAccount: RegisterAccount;
  Login: Login;
  RedeemTicket: RedeemTicket;
  ListCharacters: ListCharacters;
  CreateCharacter: CreateCharacter;
  SelectCharacter: SelectCharacter;
  Resume: Resume;
  Input: Input;
  Say: Say;
  PickUp: PickUp;
  Drop: Drop;
  Ping: Ping;
  Logout: Logout;
  Acknowledge: Acknowledge;
}

export type ClientMessage = { [Name in keyof ClientMessages]: [Name, ClientMessages[Name]] }[keyof ClientMessages];

/** What a server says, by name. */
export interface ServerMessages {
  Welcome: Welcome;
  AccountRegistered: AccountRegistered;
  LoggedIn: LoggedIn;
  Characters: Characters;
  CharacterCreated: CharacterCreated;
  EnteredZone: EnteredZone;
  Ticket: Ticket;
  Resumed: Resumed;
  Done: Done;
  Said: Said;
  PickedUp: PickedUp;
  Dropped: Dropped;
  Pong: Pong;
  LoggedOut: LoggedOut;
  Error: Error;
  /** See snapshot.js. */
  Snapshot: Uint8Array;
}

export type ServerMessage = { [Name in keyof ServerMessages]: [Name, ServerMessages[Name]] }[keyof ServerMessages];

/** Why a request was refused or a connection closed. */
export type ErrorName =
  | "Malformed"
  | "FrameTooLarge"
  | "UnknownKind"
  | "OutOfOrder"
  | "VersionMismatch"
  | "ContentMismatch"
  | "Replayed"
  | "Flood"
  | "SlowClient"
  | "IdleTimeout"
  | "HandshakeTimeout"
  | "ServerFull"
  | "ShuttingDown"
  | "Unavailable"
  | "AccountSuspended"
  | "AccountNameInvalid"
  | "AccountNameTaken"
  | "PasswordInvalid"
  | "CredentialsWrong"
  | "RegistrationClosed"
  | "SignedInElsewhere"
  | "SignInBusy"
  | "ResumeRefused"
  | "TicketRequired"
  | "CharacterNameInvalid"
  | "CharacterNameTaken"
  | "CharacterLimit"
  | "CharacterUnknown"
  | "TooFar"
  | "ItemGone"
  | "InventoryFull"
  | "SlotEmpty"
  | "CountInvalid"
  | "TextInvalid"
  | "ChatTooFast"
  | "JournalBusy"
  | "GroundFull";

export const PROTOCOL_VERSION: number;
export const SUBPROTOCOL: string;
export const TILE_UNITS: number;
export const CELL_UNITS: number;
export const STEP_UNITS_MAX: number;
export const ERROR_NAMES: Readonly<Record<number, ErrorName>>;
