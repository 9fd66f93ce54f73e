//! The whole agent on several real HAProxys that are to be alike, one of them a master with its worker. The variable
//! `HAPROXY` names another release than the one on the PATH.

#[path = "../support/mod.rs"]
mod support;

mod declared;
mod differences;
mod logs;
mod pooled;
mod site;
