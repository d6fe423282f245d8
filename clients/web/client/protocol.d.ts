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

/** A slot's content, wherever it is. */
export interface ItemSlot {
  /** 0 in the inventory, 2 worn, 3 in the bank. */
  place: number;
  /** 0 to 27 in the inventory, 0 to 10 worn, 0 to 399 in the bank. */
  slot: number;
  /** The item's kind; 0 if the slot is empty. */
  kind: number;
  /** How many; with a kind, 0 is a placeholder. */
  count: number;
  /** How often it was used, of as often as its kind can be. */
  wear: number;
  /** The item's id; 0 if the slot is empty. What does not stack keeps it for good. */
  item: Int64;
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
  /** The session's number, from `EnteredZone`. */
  nonce: number;
  /** The item's entity, as the snapshots name it. */
  entity: number;
}

/** Drops items from an inventory slot to the ground. Answered by `Dropped` once that is durable. */
export interface Drop {
  /** Rises with each request of the connection. */
  request: number;
  /** The session's number, from `EnteredZone`. */
  nonce: number;
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

/** Moves a stack within the inventory or the bank: it joins one of its kind that has room for all of it, else the two slots change places. In the bank only where there is one near. Answered by `SlotsChanged` once that is durable. */
export interface Move {
  /** Rises with each request of the connection. */
  request: number;
  /** The session's number, from `EnteredZone`. */
  nonce: number;
  /** 0 in the inventory, 3 in the bank. */
  place: number;
  /** The slot. */
  from: number;
  /** Another slot of the same place. */
  to: number;
}

/** Puts on what an inventory slot holds; what was worn in its place comes into that slot. Answered by `SlotsChanged` once that is durable. */
export interface Equip {
  /** Rises with each request of the connection. */
  request: number;
  /** The session's number, from `EnteredZone`. */
  nonce: number;
  /** The slot, 0 to 27. */
  slot: number;
}

/** Takes off what is worn. Answered by `SlotsChanged` once that is durable. */
export interface Unequip {
  /** Rises with each request of the connection. */
  request: number;
  /** The session's number, from `EnteredZone`. */
  nonce: number;
  /** What is worn there: the number of an equipment slot. */
  slot: number;
}

/** Asks what lies in the character's bank. Only near a bank. Answered by `BankOpened`. */
export interface OpenBank {
  /** Rises with each request of the connection. */
  request: number;
}

/** Puts items from an inventory slot into the bank: to a stack that has room for all of them, else where a placeholder keeps a slot for their kind, else into the tab. Only near a bank. Answered by `SlotsChanged` once that is durable. */
export interface Deposit {
  /** Rises with each request of the connection. */
  request: number;
  /** The session's number, from `EnteredZone`. */
  nonce: number;
  /** The inventory slot, 0 to 27. */
  slot: number;
  /** How many, at least 1. */
  count: number;
  /** The tab, 0 to 7; its slots are 50 times its number and the 49 after. */
  tab: number;
}

/** Takes items out of the bank. Only near a bank. Answered by `SlotsChanged` once that is durable. */
export interface Withdraw {
  /** Rises with each request of the connection. */
  request: number;
  /** The session's number, from `EnteredZone`. */
  nonce: number;
  /** The bank slot, 0 to 399. */
  slot: number;
  /** How many, at least 1; or 0, of a placeholder, to give its slot up. */
  count: number;
  /** Whether a slot that becomes empty is kept for the kind by a placeholder. */
  keep: boolean;
}

/** Asks another character within reach to trade. Answered by `Done`; the other is told by `TradeAsked`. */
export interface AskTrade {
  /** Rises with each request of the connection. */
  request: number;
  /** The other's entity. */
  entity: number;
}

/** Agrees to trade with who asked. Answered by `Done`; both are told by `TradeChanged`. */
export interface AcceptTrade {
  /** Rises with each request of the connection. */
  request: number;
  /** The entity of who asked. */
  entity: number;
}

/** Says how much of an inventory slot is offered, in place of what was. While any of it is, the slot cannot be used otherwise. Withdraws every confirmation. Answered by `Done`; both are told by `TradeChanged`. */
export interface Offer {
  /** Rises with each request of the connection. */
  request: number;
  /** The session's number, from `EnteredZone`. */
  nonce: number;
  /** The slot, 0 to 27. */
  slot: number;
  /** How many; 0 for none. */
  count: number;
}

/** Confirms the trade as it stands: step 1 of what both offer, and step 2 once both have confirmed step 1. Answered by `Done`; both are told by `TradeChanged`, or by `TradeDone` once that is durable when both have confirmed step 2. */
export interface ConfirmTrade {
  /** Rises with each request of the connection. */
  request: number;
  /** The session's number, from `EnteredZone`. */
  nonce: number;
  /** The revision that the player saw, from `TradeChanged`. */
  revision: number;
  /** 1 or 2. */
  step: number;
}

/** Ends the trade. Answered by `Done`; both are told by `TradeEnded`. */
export interface CancelTrade {
  /** Rises with each request of the connection. */
  request: number;
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
  /** What it wears, likewise. */
  worn: ItemSlot[];
  /** The session's number, which commands about items carry: one that was meant for another session is refused. */
  nonce: number;
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

/** Somebody near said something; or, of nobody near (`NOBODY`), what was said in the zone before the character came, or, without a name, what is announced to all. */
export interface Said {
  /** The speaker's entity; 4294967295 of nobody near. */
  entity: number;
  /** The speaker's name; empty of an announcement. */
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

/** Slots changed, durably. */
export interface SlotsChanged {
  /** The request's id; 0 if no request was for this change. */
  request: number;
  /** The slots that changed, as they are now. */
  slots: ItemSlot[];
}

/** What lies in the character's bank. */
export interface BankOpened {
  /** The request's id. */
  request: number;
  /** The slots that are not empty. */
  slots: ItemSlot[];
}

/** Somebody near asks to trade. */
export interface TradeAsked {
  /** Whose entity. */
  entity: number;
  /** Whose name. */
  name: string;
}

/** A trade as it stands now. */
export interface TradeChanged {
  /** The other's entity. */
  partner: number;
  /** Rises with each change of what is offered. */
  revision: number;
  /** What the character offers: its inventory slots, each with how many of it. */
  yours: ItemSlot[];
  /** What the other offers, likewise. */
  theirs: ItemSlot[];
  /** The step that the character confirmed, 0 to 2. */
  your_step: number;
  /** The step that the other confirmed, 0 to 2. */
  their_step: number;
}

/** A trade was carried out, durably. */
export interface TradeDone {
  /** The slots that changed, as they are now. */
  slots: ItemSlot[];
}

/** A trade ended without effect. */
export interface TradeEnded {
  /** Why: the number of an `ErrorCode`. */
  code: number;
}

/** Whether the player is taken to be away: nothing but pings, acknowledgements and steps on the spot came of its client for a while. Those who see the character see it too. The next step or request changes it back. */
export interface Away {
  /** Whether it is away from now on, or back. */
  away: boolean;
  /** Seconds after which the character is saved and the connection closed with `AwayTooLong`; 0 for never, or if it is back. */
  closing_s: number;
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
  Move: Move;
  Equip: Equip;
  Unequip: Unequip;
  OpenBank: OpenBank;
  Deposit: Deposit;
  Withdraw: Withdraw;
  AskTrade: AskTrade;
  AcceptTrade: AcceptTrade;
  Offer: Offer;
  ConfirmTrade: ConfirmTrade;
  CancelTrade: CancelTrade;
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
  SlotsChanged: SlotsChanged;
  BankOpened: BankOpened;
  TradeAsked: TradeAsked;
  TradeChanged: TradeChanged;
  TradeDone: TradeDone;
  TradeEnded: TradeEnded;
  Away: Away;
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
  | "AwayTooLong"
  | "AddressLimit"
  | "AccountSuspended"
  | "AddressBanned"
  | "Kicked"
  | "AccountNameInvalid"
  | "AccountNameTaken"
  | "PasswordInvalid"
  | "CredentialsWrong"
  | "RegistrationClosed"
  | "SignedInElsewhere"
  | "SignInBusy"
  | "ResumeRefused"
  | "SignInLimit"
  | "TicketRequired"
  | "CharacterNameInvalid"
  | "CharacterNameTaken"
  | "CharacterLimit"
  | "CharacterUnknown"
  | "CharacterDeleted"
  | "ProfileFrozen"
  | "CharacterNameRefused"
  | "TooFar"
  | "ItemGone"
  | "InventoryFull"
  | "SlotEmpty"
  | "CountInvalid"
  | "TextInvalid"
  | "ChatTooFast"
  | "JournalBusy"
  | "GroundFull"
  | "TooHeavy"
  | "NotWearable"
  | "RequirementUnmet"
  | "NotAtBank"
  | "BankFull"
  | "SlotInvalid"
  | "NonceStale"
  | "NotTradeable"
  | "ItemOffered"
  | "AlreadyTrading"
  | "NoTrade"
  | "TradeMoved"
  | "TradeCancelled"
  | "PartnerGone"
  | "RequestsTooFast"
  | "TradeBarred";

export const PROTOCOL_VERSION: number;
export const SUBPROTOCOL: string;
export const TILE_UNITS: number;
export const CELL_UNITS: number;
export const STEP_UNITS_MAX: number;
export const ERROR_NAMES: Readonly<Record<number, ErrorName>>;
