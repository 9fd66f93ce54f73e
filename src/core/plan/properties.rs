//! The promises of every plan, tried on random backends, settings, decisions and orders of steps.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::inventory::{AdminFlags, AdminState, BackendState, OperationalState};
use super::ownership::{Role, roles};
use super::step::{Lane, Plan, Purpose, Step};
use super::supply::Supply;
use super::testing::{self, Site, down, up};
use super::weights;
use crate::core::names::ServerId;
use crate::core::policy::decision::{Decision, Reason};
use crate::core::settings::Weights;
use crate::core::settings::spares::Spares;
use crate::core::units::Weight;

/// One server, and what the config and the agent say about it.
#[derive(Clone, Debug)]
struct Sketch {
    flags: u32,
    operational: OperationalState,
    weight: u16,
    checks: (bool, bool),
    backup: bool,
    tracking: bool,
    load: (u32, u32),
    named: Option<(bool, u32)>,
    ours: bool,
    quarantined: bool,
    /// 0: a placeholder; up to 5: one of those that the pool may offer.
    address: u8,
    /// Where the agent remembers to have put what.
    placed: Option<(u8, bool)>,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    use OperationalState::{Running, Starting, Stopped, Stopping};
    let flags =
        prop_oneof![4 => Just(0), 1 => Just(4), 2 => Just(5), 2 => Just(1), 1 => Just(8), 1 => 0_u32..0x80];
    let operational =
        prop_oneof![6 => Just(Running), 1 => Just(Starting), 1 => Just(Stopped), 1 => Just(Stopping)];
    let weight = prop_oneof![Just(1), Just(0), Just(10), 0_u16..=256];
    let rarely = || prop::bool::weighted(0.1);
    let state = (flags, operational, weight, any::<(bool, bool)>(), rarely(), rarely(), (0_u32..4, 0_u32..2));
    let placed = prop::option::of((1_u8..8, any::<bool>()));
    let address = prop_oneof![Just(0_u8), 0_u8..8];
    let said = (prop::option::of((any::<bool>(), 1_u32..400)), any::<bool>(), rarely(), address, placed);
    (state, said).prop_map(|((flags, operational, weight, checks, backup, tracking, load), said)| Sketch {
        flags,
        operational,
        weight,
        checks,
        backup,
        tracking,
        load,
        named: said.0,
        ours: said.1,
        quarantined: said.2,
        address: said.3,
        placed: said.4,
    })
}

fn site() -> impl Strategy<Value = Site> {
    let algorithms = prop_oneof![
        Just(("roundrobin", Some(true))),
        Just(("unknown", None)),
        Just(("source", None)),
        Just(("first", Some(true))),
        Just(("static-rr", Some(false)))
    ];
    let limits = (1_u32..4, prop::option::of(0_u32..4));
    let ramp = prop_oneof![Just(Duration::ZERO), Just(Duration::from_secs(30))];
    let spares = prop_oneof![
        Just(Spares::Declared),
        Just(Spares::Slots { placeholder: None, grow: None }),
        Just(Spares::Dynamic)
    ];
    let pool =
        (spares, prop::collection::btree_set(1_u8..6, 0..6), prop::collection::btree_set(1_u8..6, 0..2));
    (prop::collection::vec(sketch(), 0..8), algorithms, limits, ramp, any::<bool>(), pool).prop_map(
        |(sketches, algorithm, (min, above), ramp, by_capacity, (spares, pool, refused))| {
            let mut site = Site::new(sketches.len());
            (site.backend.algorithm, site.backend.dynamic) = (algorithm.0.to_owned(), algorithm.1);
            (site.settings.ready.min, site.settings.ready.max) = (min, above.map(|above| min + above));
            site.settings.warm_up.ramp = ramp;
            site.settings.weights = if by_capacity { Weights::ByCapacity } else { Weights::Keep };
            for (n, sketch) in sketches.into_iter().enumerate() {
                draw(&mut site, &format!("s{}", n + 1), &sketch);
            }
            site.settings.spares = spares;
            let offered: Vec<String> = pool.into_iter().map(address).collect();
            site.offer(&offered.iter().map(String::as_str).collect::<Vec<_>>());
            site.refused = refused.into_iter().map(|n| testing::at(&address(n))).collect();
            site.laid_out()
        },
    )
}

fn draw(site: &mut Site, name: &str, sketch: &Sketch) {
    let id = site.id(name);
    let server = site.server(name);
    server.admin = AdminFlags(sketch.flags);
    server.operational = sketch.operational;
    server.weight = Weight::saturating(sketch.weight.into());
    testing::move_to(server, &address(sketch.address));
    (server.checked, server.check_passed) = sketch.checks;
    (server.backup, server.tracks) = (sketch.backup, sketch.tracking.then_some(id));
    (server.sessions, server.queued) = sketch.load;
    if let Some((always_up, capacity)) = sketch.named {
        site.configure(name, |server| (server.always_up, server.capacity) = (always_up, capacity.into()));
    }
    if let Some((n, added)) = sketch.placed {
        site.place(name, &address(n), added, true);
    }
    if sketch.ours {
        site.claims.ours.insert(id);
    }
    if sketch.quarantined {
        site.quarantined.insert(id);
    }
}

fn address(n: u8) -> String {
    if n == 0 { "127.0.0.1:1".to_owned() } else { format!("10.0.0.{n}:80") }
}

fn decision() -> impl Strategy<Value = Decision> {
    prop_oneof![(1_u32..5).prop_map(up), (1_u32..5).prop_map(down)]
}

/// What HAProxy does with `step` (as seen on 2.6.12); time does not count.
fn apply(step: &Step, backend: &mut BackendState) {
    let mut change = |id: ServerId, change: &dyn Fn(&mut super::inventory::ServerState)| {
        backend.servers.iter_mut().filter(|server| server.id == id).for_each(change);
    };
    match step {
        Step::SetAddress { server, address } => change(*server, &|server| {
            assert_eq!(server.state(), AdminState::Maint, "a server that serves is sent nowhere else");
            testing::move_to(server, &address.to_string());
        }),
        Step::Add { server, .. } => change(*server, &|server| {
            assert!(server.is_absent(), "no server is added twice");
            server.supply = Some(Supply::Added(None));
        }),
        Step::ShutdownSessions { server } => change(*server, &|server| {
            assert_eq!(server.state(), AdminState::Maint, "nobody who is served is cut off");
        }),
        Step::Remove { server, .. } => change(*server, &|server| {
            assert_eq!(server.state(), AdminState::Maint, "a server that serves is not deleted");
            assert!(matches!(server.supply, Some(Supply::Added(_))), "only what was added is deleted");
        }),
        Step::Set { server, state } => change(*server, &|server| {
            assert!(!server.is_absent(), "nothing can be done to a server that is not there");
            let was_maint = server.state() == AdminState::Maint;
            server.admin = server.admin.with(*state);
            match server.state() {
                AdminState::Maint => server.operational = OperationalState::Stopped,
                _ if was_maint => server.operational = OperationalState::Running,
                _ => {}
            }
        }),
        Step::SetWeights(weights) => {
            for (id, weight) in weights {
                change(*id, &|server| server.weight = *weight);
            }
        }
        Step::AwaitHealthy { .. } | Step::WarmUp { .. } | Step::AwaitDrained { .. } | Step::Pause(_) => {}
    }
}

/// The plan's steps in one of the orders in which they may happen; all of them, or so many of
/// them until the plan is called off.
fn interleave(plan: &Plan, turns: &[Index]) -> (Vec<Step>, Vec<usize>) {
    let mut done = vec![0; plan.lanes.len()];
    let mut steps = plan.before.clone();
    for turn in turns {
        let unfinished: Vec<usize> =
            (0..done.len()).filter(|&lane| done[lane] < plan.lanes[lane].steps.len()).collect();
        if unfinished.is_empty() {
            break;
        }
        let lane = unfinished[turn.index(unfinished.len())];
        steps.push(plan.lanes[lane].steps[done[lane]].clone());
        done[lane] += 1;
    }
    (steps, done)
}

/// What is undone when the plan is taken back with so many steps of each lane done.
fn taken_back(plan: &Plan, done: &[usize]) -> Vec<Step> {
    let is_undone =
        |lane: &Lane, done: usize| lane.steps[done..].iter().any(|step| matches!(step, Step::Set { .. }));
    // A lane that has done nothing yet is not undone.
    let undone = plan.lanes.iter().zip(done).filter(|(lane, done)| **done > 0 && is_undone(lane, **done));
    undone.flat_map(|(lane, _)| lane.undo.clone()).collect()
}

fn serving(backend: &BackendState) -> u32 {
    backend.serving().count() as u32
}

fn with_role(site: &Site, wanted: &[Role]) -> HashSet<ServerId> {
    let roles = roles(&site.backend, &site.settings, &site.claims, &site.names);
    roles.filter(|(_, role)| wanted.contains(role)).map(|(server, _)| server.id).collect()
}

fn all_steps(plan: &Plan) -> impl Iterator<Item = &Step> {
    let lanes = plan.lanes.iter().flat_map(|lane| lane.steps.iter().chain(&lane.undo));
    plan.before.iter().chain(lanes).chain(&plan.after)
}

proptest! {
    #[test]
    fn at_no_step_do_fewer_than_the_minimum_or_more_than_the_maximum_serve(
        site in site(), decision in decision(), turns in prop::collection::vec(any::<Index>(), 0..120),
    ) {
        let Ok(plan) = site.plan(&decision) else { return Ok(()) };
        let first = serving(&site.backend);
        let least = first.min(site.settings.ready.min);
        let most = first.max(site.settings.ready.max.unwrap_or(u32::MAX));
        let (mut steps, done) = interleave(&plan, &turns);
        steps.extend(taken_back(&plan, &done));
        steps.extend(plan.after.clone());
        let mut backend = site.backend.clone();
        for step in &steps {
            apply(step, &mut backend);
            let now = serving(&backend);
            prop_assert!((least..=most).contains(&now), "{now} serve after {step:?}, of {least} to {most}");
        }
    }

    #[test]
    fn a_whole_plan_does_what_was_decided(site in site(), decision in decision()) {
        let Ok(plan) = site.plan(&decision) else { return Ok(()) };
        let lanes = plan.lanes.len() as u32;
        let (Decision::ScaleUp { by, .. } | Decision::ScaleDown { by, .. }) = decision else { unreachable!() };
        prop_assert!((1..=by).contains(&lanes));
        let mut backend = site.backend.clone();
        plan.before.iter().chain(plan.lanes.iter().flat_map(|lane| &lane.steps)).chain(&plan.after)
            .for_each(|step| apply(step, &mut backend));
        let expected = match plan.purpose {
            Purpose::Add => serving(&site.backend) + lanes,
            Purpose::Remove => serving(&site.backend) - lanes,
            Purpose::ShutDown | Purpose::Reweigh => unreachable!("it is not decided"),
        };
        prop_assert_eq!(serving(&backend), expected);
    }

    #[test]
    fn a_refusal_says_what_is_so(site in site(), decision in decision()) {
        let Err(reason) = site.plan(&decision) else { return Ok(()) };
        let fleet = site.fleet();
        let ready = site.settings.ready;
        match reason {
            Reason::NoSpare => prop_assert_eq!(fleet.startable, 0),
            Reason::NothingToRemove => prop_assert_eq!(fleet.removable, 0),
            Reason::AtMax { serving } => prop_assert!(serving == fleet.serving && Some(serving) >= ready.max),
            Reason::AtMin { serving } => {
                let alone = site.backend.serving_by_themselves().count() as u32;
                prop_assert!(serving == fleet.serving && alone <= ready.min);
            }
            other => prop_assert!(false, "{other:?} is no refusal"),
        }
    }

    #[test]
    fn only_our_own_servers_are_moved(site in site(), decision in decision()) {
        let Ok(plan) = site.plan(&decision) else { return Ok(()) };
        let may_move = match plan.purpose {
            Purpose::Add => &with_role(&site, &[Role::Spare, Role::Draining]) - &site.quarantined,
            _ => with_role(&site, &[Role::Serving]),
        };
        for lane in &plan.lanes {
            prop_assert!(may_move.contains(&lane.server));
            prop_assert_eq!(site.backend.server(lane.server).map(|server| server.state()), Some(lane.from));
            for step in lane.steps.iter().chain(&lane.undo) {
                match step {
                    Step::SetAddress { server, .. } | Step::Add { server, .. } | Step::Remove { server, .. }
                    | Step::Set { server, .. } | Step::AwaitHealthy { server, .. } | Step::WarmUp { server, .. }
                    | Step::ShutdownSessions { server } | Step::AwaitDrained { server, .. } => prop_assert_eq!(*server, lane.server),
                    Step::SetWeights(weights) => {
                        prop_assert!(weights.len() == 1 && weights[0].0 == lane.server);
                    }
                    Step::Pause(_) => {}
                }
            }
        }
        let moved: HashSet<ServerId> = plan.lanes.iter().map(|lane| lane.server).collect();
        prop_assert_eq!(moved.len(), plan.lanes.len(), "each server has one lane");
        prop_assert!(plan.before.iter().chain(&plan.after).all(|step| matches!(step, Step::SetWeights(_))));
    }

    #[test]
    fn weights_are_put_right_wherever_a_plan_ends(
        site in site(), decision in decision(), turns in prop::collection::vec(any::<Index>(), 0..120),
    ) {
        let Ok(plan) = site.plan(&decision) else { return Ok(()) };
        let (steps, _) = interleave(&plan, &turns);
        let mut backend = site.backend.clone();
        steps.iter().chain(&plan.after).for_each(|step| apply(step, &mut backend));
        let rightful = weights::full(&site.backend, &site.settings, &site.names);
        for server in &backend.servers {
            let before = site.backend.server(server.id).map(|server| server.weight);
            let wanted = rightful.iter().find(|(id, _)| *id == server.id).map(|&(_, weight)| weight);
            let wanted = wanted.filter(|_| !plan.after.is_empty()).or(before);
            prop_assert_eq!(Some(server.weight), wanted);
        }
    }

    #[test]
    fn temporary_weights_change_no_ratio_and_stop_no_server(site in site(), decision in decision()) {
        let Ok(plan) = site.plan(&decision) else { return Ok(()) };
        let rightful = weights::full(&site.backend, &site.settings, &site.names);
        if let [Step::SetWeights(scaled)] = &plan.before[..] {
            for ((id, scaled), (rightful_id, rightful)) in scaled.iter().zip(&rightful) {
                prop_assert_eq!(id, rightful_id);
                prop_assert_eq!(scaled.value() % rightful.value(), 0);
                prop_assert_eq!(scaled.value() / rightful.value(), scaled_first(&plan, &rightful_first(&site)));
            }
        }
        for step in all_steps(&plan) {
            if let Step::SetWeights(weights) = step {
                prop_assert!(weights.iter().all(|(_, weight)| *weight > Weight::ZERO));
            }
        }
    }
}

/// What happens to a backend with slots.
#[derive(Clone, Debug)]
enum Happening {
    /// So many more, or fewer; the step of that number fails, if there is one.
    Scale(i32, usize),
    /// HAProxy is reloaded: all slots are empty again.
    Reload,
    /// The pool offers these.
    Offer(Vec<u8>),
}

fn happening() -> impl Strategy<Value = Happening> {
    let pool = prop::sample::subsequence((1_u8..7).collect::<Vec<_>>(), 0..6);
    prop_oneof![
        6 => (-3_i32..4, 0_usize..20).prop_map(|(by, fails)| Happening::Scale(by, fails)),
        1 => Just(Happening::Reload),
        2 => pool.prop_map(Happening::Offer),
    ]
}

/// Carries the plan out until step `fails` of it, which ends and undoes its lane.
fn carry_out(site: &mut Site, plan: &Plan, fails: usize) {
    let mut number = 0;
    for lane in &plan.lanes {
        for step in &lane.steps {
            if let Step::SetAddress { server, address } = step {
                let placement = super::supply::Placement {
                    address: *address,
                    added: false,
                    serving: false,
                    pids: vec![Some(1)],
                };
                site.placed.insert(*server, placement);
            }
            number += 1;
            if number == fails {
                lane.undo.iter().for_each(|step| apply(step, &mut site.backend));
                break;
            }
            apply(step, &mut site.backend);
            assert!(serving(&site.backend) >= site.settings.ready.min, "{step:?}");
        }
        site.claims.ours.insert(lane.server);
    }
}

proptest! {
    /// More slots than addresses: none is ever taken from an address.
    #[test]
    fn an_address_always_comes_back_to_its_slot(happenings in prop::collection::vec(happening(), 1..40)) {
        let mut site = Site::new(8);
        site.settings.spares = Spares::Slots { placeholder: None, grow: None };
        for n in 2..=8 {
            testing::slot(site.server(&format!("s{n}")));
        }
        site.offer(&[]);
        let mut homes: std::collections::HashMap<std::net::SocketAddr, ServerId> = Default::default();
        for happening in happenings {
            match happening {
                Happening::Scale(by, fails) => {
                    let decision = if by > 0 { up(by.unsigned_abs()) } else { down(by.unsigned_abs().max(1)) };
                    let laid_out = site.laid_out();
                    if let Ok(plan) = laid_out.plan(&decision) {
                        carry_out(&mut site, &plan, fails);
                    }
                }
                Happening::Reload => {
                    for n in 2..=8 {
                        testing::slot(site.server(&format!("s{n}")));
                    }
                }
                Happening::Offer(pool) => {
                    let pool: Vec<String> = pool.into_iter().map(address).collect();
                    site.offer(&pool.iter().map(String::as_str).collect::<Vec<_>>());
                }
            }
            for server in site.backend.servers.iter().skip(1).filter(|server| server.is_serving()) {
                let address = server.socket().expect("it was given one");
                prop_assert!(!site.settings.spares.is_placeholder(address), "an empty slot serves");
                prop_assert_eq!(*homes.entry(address).or_insert(server.id), server.id);
            }
            let all: Vec<_> = site.backend.serving().filter_map(|server| server.socket()).collect();
            let different: HashSet<_> = all.iter().collect();
            prop_assert_eq!(different.len(), all.len(), "an address is in one slot only");
        }
    }
}

fn rightful_first(site: &Site) -> Weight {
    weights::full(&site.backend, &site.settings, &site.names)[0].1
}

/// By how much the first server's weight is multiplied.
fn scaled_first(plan: &Plan, rightful: &Weight) -> u16 {
    match &plan.before[..] {
        [Step::SetWeights(scaled)] => scaled[0].1.value() / rightful.value(),
        _ => 1,
    }
}
