//! The interface once more, on PostgreSQL: the harness knows it by this file's name. And a PostgreSQL that goes away.

#[path = "api/algorithms.rs"]
mod algorithms;
#[path = "api/attacks.rs"]
mod attacks;
#[path = "api/bans.rs"]
mod bans;
#[path = "api/browser.rs"]
mod browser;
#[path = "api/client.rs"]
mod client;
#[path = "api/devices.rs"]
mod devices;
#[path = "api/document.rs"]
mod document;
#[path = "api/factor.rs"]
mod factor;
#[path = "api/frame.rs"]
mod frame;
#[path = "api/limits.rs"]
mod limits;
#[path = "api/mailbox.rs"]
mod mailbox;
#[path = "api/node.rs"]
mod node;
#[path = "api/outage.rs"]
mod outage;
#[path = "api/owner.rs"]
mod owner;
#[path = "api/people.rs"]
mod people;
#[path = "api/person.rs"]
mod person;
#[path = "api/profiles.rs"]
mod profiles;
#[path = "api/service.rs"]
mod service;
#[path = "api/several.rs"]
mod several;
#[path = "api/staff.rs"]
mod staff;
#[path = "api/topics.rs"]
mod topics;
#[path = "api/visible.rs"]
mod visible;
