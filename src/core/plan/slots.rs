//! More slots for a backend: their names, their address, and what they are to be like.
//!
//! In: a reading of a backend on which its pool was laid. Names go on behind the highest number there is, so that they are
//! the same for all HAProxys and no other server has one of them.

use std::net::{Ipv4Addr, SocketAddr};

use super::inventory::{BackendState, ServerState};
use crate::core::names::Names;
use crate::core::settings::spares::Spares;
use crate::core::units::Weight;

/// Where a slot without an address is, if no other tells.
const PLACEHOLDER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// The slots of a backend: those that are empty, and those with an address of the pool.
pub fn slots(state: &BackendState, spares: Spares) -> impl DoubleEndedIterator<Item = &ServerState> + Clone {
    let is_empty = move |server: &ServerState| {
        !server.is_absent() && server.socket().is_some_and(|address| spares.is_placeholder(address))
    };
    let is_slot = move |server: &&ServerState| {
        matches!(spares, Spares::Slots { .. }) && (server.supply.is_some() || is_empty(server))
    };
    state.servers.iter().filter(is_slot)
}

/// Those that not every HAProxy has.
pub fn somewhere(state: &BackendState, spares: Spares) -> impl Iterator<Item = &ServerState> {
    slots(state, spares).filter(|slot| !slot.everywhere)
}

/// The slot that others are to be like: one that every HAProxy has, and that could serve.
pub fn model(state: &BackendState, spares: Spares) -> Option<&ServerState> {
    slots(state, spares).rfind(|slot| slot.everywhere && slot.initial_weight > Weight::ZERO)
}

/// The address of a slot that has none.
pub fn placeholder(state: &BackendState, spares: Spares) -> SocketAddr {
    let named = match spares {
        Spares::Slots { placeholder, .. } => placeholder,
        Spares::Declared | Spares::Dynamic => None,
    };
    let seen = || {
        let mut addresses = slots(state, spares).filter_map(ServerState::socket);
        addresses.find(|&address| spares.is_placeholder(address))
    };
    named.or_else(seen).unwrap_or(PLACEHOLDER)
}

/// Names for `count` slots more, beside those that have been `asked` for already.
pub fn next_names(
    state: &BackendState,
    spares: Spares,
    asked: &[String],
    count: u32,
    names: &Names,
) -> Vec<String> {
    let (prefix, last) = last(state, spares, asked, names);
    (1..=u128::from(count)).map(|n| format!("{prefix}{}", last + n)).collect()
}

/// The line for `haproxy.cfg` that gives the backend `missing` slots more.
pub fn line(state: &BackendState, spares: Spares, missing: u32, names: &Names) -> String {
    let (prefix, last) = last(state, spares, &[], names);
    let (first, last) = (last + 1, last + u128::from(missing.max(1)));
    format!("server-template {prefix} {first}-{last} {} disabled", placeholder(state, spares))
}

/// What the names of slots begin with, and the highest number that stands behind that in any name.
fn last(state: &BackendState, spares: Spares, asked: &[String], names: &Names) -> (String, u128) {
    let name = |server: &ServerState| names.of_server(server.id).to_string();
    let numbered = slots(state, spares).filter_map(|slot| {
        let name = name(slot);
        split(&name).map(|(prefix, number)| (number, prefix.to_owned()))
    });
    let prefix = numbered.max().map_or("slot".to_owned(), |(_, prefix)| prefix);
    let taken = state.servers.iter().map(name).chain(asked.iter().cloned());
    let numbers = taken.filter_map(|name| split(&name).filter(|(its, _)| *its == prefix).map(|(_, n)| n));
    let last = numbers.max().unwrap_or(0).into();
    (prefix, last)
}

/// `app12` as `app` and 12; one that counts no servers is no number.
fn split(name: &str) -> Option<(&str, u64)> {
    let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
    Some((prefix, name[prefix.len()..].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::core::plan::supply::newcomer;
    use crate::core::plan::testing::{self, Site, at};
    use crate::core::settings::spares::Keywords;

    const SPARES: Spares = Spares::Slots { placeholder: None, grow: None };

    /// A backend with these slots, and other servers beside them.
    fn site(slots: &[&str], others: &[&str]) -> Site {
        let mut site = Site::new(0);
        site.settings.spares = SPARES;
        for name in others {
            let server = testing::server(site.id(name));
            site.backend.servers.push(server);
        }
        for name in slots {
            let mut server = newcomer(site.id(name), at("127.0.0.1:1"), &Keywords::default());
            testing::slot(&mut server);
            site.backend.servers.push(server);
        }
        site.offer(&[]);
        site.laid_out()
    }

    #[track_caller]
    fn check(slots: &[&str], others: &[&str], missing: u32, expected: &str) {
        let site = site(slots, others);
        assert_eq!(line(&site.backend, SPARES, missing, &site.names), expected);
    }

    #[test]
    fn the_line_for_more_slots_goes_on_where_the_last_ended() {
        check(&["app1", "app2", "app10"], &[], 3, "server-template app 11-13 127.0.0.1:1 disabled");
        check(&["web-01"], &[], 1, "server-template web- 2-2 127.0.0.1:1 disabled");
        check(&["spare"], &[], 2, "server-template slot 1-2 127.0.0.1:1 disabled");
        check(&[], &[], 2, "server-template slot 1-2 127.0.0.1:1 disabled");
    }

    #[test]
    fn names_of_servers_that_are_no_slots_are_passed_over() {
        check(&["s1"], &["s2", "t9"], 2, "server-template s 3-4 127.0.0.1:1 disabled");
        check(&["spare"], &["slot7"], 1, "server-template slot 8-8 127.0.0.1:1 disabled");
        check(&["s4294967295"], &[], 1, "server-template s 4294967296-4294967296 127.0.0.1:1 disabled");
    }

    #[test]
    fn new_slots_are_as_one_that_all_haproxys_have() {
        let mut site = site(&["s1", "s2", "s3"], &[]);
        site.server("s3").everywhere = false;
        assert_eq!(model(&site.backend, SPARES).map(|slot| slot.id), Some(site.id("s2")));
        site.server("s2").initial_weight = Weight::ZERO;
        assert_eq!(model(&site.backend, SPARES).map(|slot| slot.id), Some(site.id("s1")));
        testing::move_to(site.server("s1"), "0.0.0.0:80");
        assert_eq!(placeholder(&site.backend, SPARES), at("0.0.0.0:80"));
        let named = Spares::Slots { placeholder: Some(at("10.0.0.9:9")), grow: None };
        assert_eq!(placeholder(&site.backend, named), at("10.0.0.9:9"));
    }

    fn words(names: &BTreeSet<String>) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }

    proptest! {
        #[test]
        fn a_new_name_is_nobodys_and_stays_the_same_as_long_as_it_is_asked_for(
            slots in prop::collection::btree_set("[a-c-]{0,2}[0-9]{1,10}|[a-c]{1,2}", 0..6),
            others in prop::collection::btree_set("[a-c-]{0,2}[0-9]{1,10}|slot[0-9]", 0..6),
            counts in (0u32..9, 0u32..9),
        ) {
            let others: BTreeSet<_> = others.difference(&slots).cloned().collect();
            let site = site(&words(&slots), &words(&others));
            let more = |asked: &[String], count| next_names(&site.backend, SPARES, asked, count, &site.names);
            let first = more(&[], counts.0);
            let both = [&first[..], &more(&first, counts.1)[..]].concat();
            prop_assert_eq!(&more(&[], counts.0), &first);
            prop_assert_eq!(&more(&[], counts.0 + counts.1), &both);
            let all: BTreeSet<&String> = both.iter().chain(&slots).chain(&others).collect();
            prop_assert_eq!(all.len(), both.len() + slots.len() + others.len());
        }
    }
}
