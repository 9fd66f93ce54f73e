//! Storms by chance.

use haproxy_autoscale::core::controller::Order;
use haproxy_autoscale::core::plan::inventory::AdminState;
use proptest::prelude::*;

/// A server by its place, in a backend by its place; on one node, or on all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) backend: usize,
    pub(crate) server: usize,
    pub(crate) node: Option<usize>,
}

/// Something that happens. Nodes, backends and addresses are told by their places.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// So much load, in servers.
    Load(f64),
    /// An operator sets a server's state, or its weight.
    State(Spot, AdminState),
    Weight(Spot, u16),
    /// An operator orders, for so many seconds.
    Order(usize, Order, u64),
    Resume(usize),
    /// HAProxy is reloaded, with a state file or without: one of them, or all.
    Reload(Option<usize>, bool),
    /// One is gone for so long and then another process, or all are.
    Crash(Option<usize>, u32),
    /// For so long one cannot be asked, or does not answer.
    Unreachable(usize, u32),
    Hang(usize, u32),
    /// So many commands are refused, or carried out without an answer.
    Refuse(usize, u32),
    Lose(usize, u32),
    /// Whatever listens at an address stops, or runs again.
    Die(usize),
    Revive(usize),
    /// It is slower than the others from now on, or no longer.
    Slow(usize, bool),
    /// The agent is killed, or stopped, and starts again after so long.
    Kill(u32),
    Stop(u32),
    /// The agent's config is other: fewest, most.
    Limits(usize, u32, u32),
    /// And how long ramps are, in seconds.
    Ramp(u64),
    /// The pool has these addresses now, a bit for each; it can be read, or not.
    Pool(usize, u8),
    Readable(usize, bool),
}

/// What happens, each so many seconds after the one before.
pub(crate) type Storm = Vec<(u32, Event)>;

pub(crate) fn storm() -> impl Strategy<Value = Storm> {
    let soon = prop_oneof![4 => 0..3_u32, 3 => 3..15_u32, 1 => 15..90_u32];
    prop::collection::vec((soon, event()), 0..30)
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![4 => of_operators(), 4 => of_haproxy(), 3 => of_servers(), 2 => of_the_agent()]
}

fn of_operators() -> impl Strategy<Value = Event> {
    let state = prop_oneof![Just(AdminState::Ready), Just(AdminState::Drain), Just(AdminState::Maint)];
    let order = prop_oneof![Just(Order::Pause), (1..7_u32).prop_map(Order::Pin)];
    let weight = prop_oneof![4 => Just(7_u16), 4 => Just(211_u16), 1 => Just(0_u16)];
    prop_oneof![
        5 => (spot(), state).prop_map(|(spot, state)| Event::State(spot, state)),
        3 => (spot(), weight).prop_map(|(spot, weight)| Event::Weight(spot, weight)),
        2 => (place(), order, 1..120_u64).prop_map(|(backend, order, lasts)| Event::Order(backend, order, lasts)),
        1 => place().prop_map(Event::Resume),
    ]
}

fn of_haproxy() -> impl Strategy<Value = Event> {
    let one = || prop::option::weighted(0.6, place());
    prop_oneof![
        3 => (one(), any::<bool>()).prop_map(|(node, keeps)| Event::Reload(node, keeps)),
        1 => (one(), 1..40_u32).prop_map(|(node, lasts)| Event::Crash(node, lasts)),
        1 => (place(), 1..60_u32).prop_map(|(node, lasts)| Event::Unreachable(node, lasts)),
        1 => (place(), 1..40_u32).prop_map(|(node, lasts)| Event::Hang(node, lasts)),
        2 => (place(), 1..6_u32).prop_map(|(node, times)| Event::Refuse(node, times)),
        1 => (place(), 1..3_u32).prop_map(|(node, times)| Event::Lose(node, times)),
    ]
}

fn of_servers() -> impl Strategy<Value = Event> {
    let address = || 0..16_usize;
    prop_oneof![
        6 => prop_oneof![Just(0.0), 0.5..8.0].prop_map(Event::Load),
        2 => address().prop_map(Event::Die),
        2 => address().prop_map(Event::Revive),
        1 => (address(), any::<bool>()).prop_map(|(address, slow)| Event::Slow(address, slow)),
        4 => (place(), any::<u8>()).prop_map(|(backend, pool)| Event::Pool(backend, pool)),
        1 => (place(), any::<bool>()).prop_map(|(backend, readable)| Event::Readable(backend, readable)),
    ]
}

fn of_the_agent() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (1..10_u32).prop_map(Event::Kill),
        1 => (1..10_u32).prop_map(Event::Stop),
        2 => (place(), 1..4_u32, 0..4_u32).prop_map(|(of, min, more)| Event::Limits(of, min, min + more)),
        1 => prop_oneof![Just(0_u64), Just(10)].prop_map(Event::Ramp),
    ]
}

fn place() -> impl Strategy<Value = usize> {
    0..6_usize
}

fn spot() -> impl Strategy<Value = Spot> {
    let node = prop::option::weighted(0.25, place());
    (place(), 0..8_usize, node).prop_map(|(backend, server, node)| Spot { backend, server, node })
}
