//! The interface as its callers have it: a real port, a real database file, and a real mail server at the end of the line.

mod algorithms;
mod attacks;
mod bans;
mod browser;
mod client;
mod devices;
mod document;
mod factor;
mod frame;
mod limits;
mod mailbox;
mod node;
mod owner;
mod people;
mod person;
mod profiles;
mod service;
mod several;
mod staff;
mod topics;
mod visible;
