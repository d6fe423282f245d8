//! The routes, a file to each thing that they are about.

pub(crate) mod browser;
pub(crate) mod character;
pub(crate) mod devices;
pub(crate) mod identity;
pub(crate) mod keys;
pub(crate) mod me;
pub(crate) mod password;
pub(crate) mod person;
pub(crate) mod profile;
pub(crate) mod registration;
pub(crate) mod second_factor;
pub(crate) mod session;
pub(crate) mod staff;
pub(crate) mod ticket;
pub(crate) mod topics;
