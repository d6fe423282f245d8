// Written from the protocol's declarations: UPDATE_DOCS=1 cargo test -p vyuha-protocol --test web

export const PROTOCOL_VERSION = 3;
export const SUBPROTOCOL = "vyuha.msgpack.v1";

// Position units along the side of a tile, of a cell, and of the longest step.
export const TILE_UNITS = 2048;
export const CELL_UNITS = 65536;
export const STEP_UNITS_MAX = 2047;

export const ERROR_NAMES = {
  1: "Malformed",
  2: "FrameTooLarge",
  3: "UnknownKind",
  4: "OutOfOrder",
  5: "VersionMismatch",
  6: "ContentMismatch",
  7: "Replayed",
  8: "Flood",
  9: "SlowClient",
  10: "IdleTimeout",
  11: "HandshakeTimeout",
  12: "ServerFull",
  13: "ShuttingDown",
  14: "Unavailable",
  17: "AccountSuspended",
  20: "AccountNameInvalid",
  21: "AccountNameTaken",
  22: "PasswordInvalid",
  23: "CredentialsWrong",
  24: "RegistrationClosed",
  25: "SignedInElsewhere",
  26: "SignInBusy",
  27: "ResumeRefused",
  29: "TicketRequired",
  30: "CharacterNameInvalid",
  31: "CharacterNameTaken",
  32: "CharacterLimit",
  33: "CharacterUnknown",
  40: "TooFar",
  41: "ItemGone",
  42: "InventoryFull",
  43: "SlotEmpty",
  44: "CountInvalid",
  45: "TextInvalid",
  46: "ChatTooFast",
  47: "JournalBusy",
  48: "GroundFull",
};
