//! The macros by which messages and their parts are declared. They name what is in scope where they are used.

macro_rules! messages {
    (
        $(#[$enum_doc:meta])* $enum_name:ident;
        $( $(#[doc = $doc:literal])* $kind:literal $name:ident {
            $( #[doc = $field_doc:literal] $(#[serde($($serde:tt)*)])? $field:ident: $ty:ty ),* $(,)?
        } )*
    ) => {
        $(
            $(#[doc = $doc])*
            #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, serde::Serialize, serde::Deserialize)]
            #[derive(Debug, Clone, PartialEq)]
            #[serde(deny_unknown_fields)]
            pub struct $name { $( #[doc = $field_doc] $(#[serde($($serde)*)])? pub $field: $ty, )* }

            impl Message for $name {
                const KIND: u16 = $kind;
                const NAME: &'static str = stringify!($name);
                const DOC: &'static str = concat!($($doc),*);
                const FIELDS: &'static [Field] = &[$(Field {
                    name: stringify!($field),
                    form: stringify!($ty),
                    doc: $field_doc,
                    offset: std::mem::offset_of!(rkyv::Archived<$name>, $field),
                }),*];
                const FIXED_BYTES: usize = size_of::<rkyv::Archived<$name>>();

                fn archive(&self, out: &mut Vec<u8>) {
                    rkyv::api::high::to_bytes_in::<_, Failure>(self, out)
                        .expect("archiving to memory does not fail");
                }
            }
        )*

        $(#[$enum_doc])*
        #[derive(Clone, Copy)]
        pub enum $enum_name<'a> {
            $( $(#[doc = $doc])* $name(&'a rkyv::Archived<$name>), )*
        }

        impl<'a> $enum_name<'a> {
            /// Every message of this direction.
            pub const ALL: &'static [Description] =
                &[$(($name::NAME, $kind, $name::DOC, $name::FIELDS, $name::FIXED_BYTES)),*];

            /// Validates a payload and hands out its message in place.
            pub fn decode(kind: u16, payload: &'a [u8]) -> Result<Self, DecodeError> {
                match kind {
                    $( $kind => rkyv::access::<rkyv::Archived<$name>, Failure>(payload)
                        .map($enum_name::$name)
                        .map_err(|Failure| DecodeError::Malformed(stringify!($name))), )*
                    _ => Err(DecodeError::UnknownKind(kind)),
                }
            }

            /// The message's name, as metrics show it.
            pub fn name(&self) -> &'static str {
                match self { $( $enum_name::$name(_) => stringify!($name), )* }
            }

            /// Appends the message's MessagePack form.
            pub fn append_msgpack(&self, out: &mut Vec<u8>) {
                match self {
                    $( $enum_name::$name(archived) => {
                        let message = rkyv::deserialize::<$name, Failure>(*archived)
                            .expect("what was validated is read");
                        msgpack::append(out, &message);
                    } )*
                }
            }

            /// Reads a message's MessagePack form and appends the message as a frame; nothing where it is refused.
            pub fn append_frame_of_msgpack(frames: &mut Vec<u8>, bytes: &[u8]) -> Result<(), MsgpackError> {
                let (name, fields) = msgpack::split(bytes)?;
                match name {
                    $( stringify!($name) => append(frames, &msgpack::read_fields::<$name>(fields)?), )*
                    _ => return Err(MsgpackError::UnknownName),
                }
                Ok(())
            }
        }
    };
}

macro_rules! parts {
    ($( $(#[doc = $doc:literal])* $name:ident: $($derive:ident),* {
        $( #[doc = $field_doc:literal] $field:ident: $ty:ty ),* $(,)?
    } )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, serde::Serialize, serde::Deserialize)]
            #[derive($($derive),*)]
            #[serde(deny_unknown_fields)]
            pub struct $name { $( #[doc = $field_doc] pub $field: $ty, )* }
        )*

        /// Whatever is part of messages.
        pub const PARTS: &[PartDescription] = &[$((
            stringify!($name),
            concat!($($doc),*),
            &[$(Field {
                name: stringify!($field),
                form: stringify!($ty),
                doc: $field_doc,
                offset: std::mem::offset_of!(rkyv::Archived<$name>, $field),
            }),*],
        )),*];
    };
}

pub(super) use {messages, parts};
