//! The kinds of spare that get their address while HAProxy runs, on a real HAProxy: their whole life, and
//! what happens to them in between; faults, on a fake one. The variable `HAPROXY` names another release than the one on the PATH.

#[path = "../support/mod.rs"]
mod support;

mod dynamic;
mod faults;
mod site;
mod slots;
