//! Nodes that come, go and differ.

use std::time::{Duration, Instant};

use super::*;
use crate::core::plan::inventory::{AdminFlags, AdminState};
use crate::core::plan::testing::{self, Site};
use crate::core::units::Weight;

/// A backend whose servers are all declared.
pub(super) fn declared(backend: BackendId, least_serving: u32) -> Kept {
    Kept {
        backend,
        least_serving,
        spares: Spares::Declared,
        placed: BTreeSet::new(),
        keywords: None,
        left_alone: BTreeSet::new(),
    }
}

/// Some nodes with the servers s1, s2, s3 each.
struct Stage {
    nodes: Nodes,
    site: Site,
    now: Instant,
}

impl Stage {
    fn new(nodes: usize) -> Self {
        let site = Site::new(3);
        let mut nodes = Nodes::new(nodes);
        nodes.keep(vec![declared(site.backend.id, 1)]);
        Self { nodes, site, now: Instant::now() }
    }

    /// The process `pid`, up for `uptime_s`, with s2 and s3 so.
    fn node(&self, pid: u32, uptime_s: u64, states: [AdminState; 2]) -> Option<Answer> {
        let mut backend = self.site.backend.clone();
        for (server, state) in backend.servers[1..].iter_mut().zip(states) {
            server.admin = AdminFlags(0).with(state);
        }
        Some(Ok(testing::inventory(testing::process(pid, uptime_s), vec![backend])))
    }

    fn take(&mut self, answers: impl Into<Vec<Option<Answer>>>) -> Option<Inventory> {
        self.take_reading(answers, true)
    }

    fn take_reading(&mut self, answers: impl Into<Vec<Option<Answer>>>, settled: bool) -> Option<Inventory> {
        self.now += Duration::from_secs(1);
        self.nodes.take(answers.into(), settled, self.now)
    }

    #[track_caller]
    fn check(&self, expected: &[Standing]) {
        let found: Vec<Standing> = self.nodes.states().iter().map(|state| state.standing).collect();
        assert_eq!(found, expected);
    }

    fn told(&self, node: usize) -> Vec<Correction> {
        let all = self.nodes.corrections().into_iter().find(|(n, _)| *n == node);
        all.map(|(_, all)| all).unwrap_or_default()
    }

    fn to(&self, server: &str, to: AdminState) -> Correction {
        Correction::State { server: self.site.id(server), to }
    }
}

use AdminState::{Maint, Ready};
use Standing::{Absent, Behind, InLine};

fn todo(wanted: &BackendState, found: &BackendState, waited: Duration) -> align::Todo {
    let places = Places { kept: &declared(wanted.id, 1), added: &BTreeSet::new() };
    align::todo(wanted, found, &places, 1, waited)
}

const GONE: fn() -> Option<Answer> = || Some(Err("connection refused".to_owned()));

#[test]
fn one_alone_is_always_in_line() {
    let mut stage = Stage::new(1);
    assert!(stage.take([GONE()]).is_none());
    stage.check(&[Absent]);
    for pid in [1, 2] {
        let found = stage.take([stage.node(pid, 9, [Ready, Maint])]).unwrap();
        assert_eq!(found.counted, [Some(pid)]);
        stage.check(&[InLine]);
    }
}

#[test]
fn one_that_is_back_is_told_what_the_others_have() {
    let mut stage = Stage::new(2);
    stage.take([stage.node(1, 9, [Ready, Maint]), stage.node(2, 9, [Ready, Maint])]);
    stage.check(&[InLine, InLine]);
    let found = stage.take([stage.node(1, 10, [Ready, Maint]), GONE()]).unwrap();
    assert_eq!(found.counted, [Some(1), None]);
    stage.check(&[InLine, Absent]);
    stage.take([stage.node(1, 20, [Ready, Maint]), stage.node(3, 1, [Maint, Ready])]);
    stage.check(&[InLine, Behind]);
    // Up first, down when that is done.
    assert_eq!(stage.told(1), [stage.to("s2", Ready)]);
    stage.take([stage.node(1, 21, [Ready, Maint]), stage.node(3, 2, [Ready, Ready])]);
    assert_eq!(stage.told(1), [stage.to("s3", Maint)]);
    let found = stage.take([stage.node(1, 22, [Ready, Maint]), stage.node(3, 3, [Ready, Maint])]).unwrap();
    stage.check(&[InLine, InLine]);
    assert_eq!(found.counted, [Some(1), Some(3)]);
    assert!(found.backends[0].servers.iter().all(|server| server.alike));
}

#[test]
fn what_lags_behind_does_not_count_but_what_runs_on_it_does() {
    let mut stage = Stage::new(2);
    stage.take([stage.node(1, 9, [Ready, Maint]), GONE()]);
    stage.site.backend.sessions = 2;
    let found = stage.take([stage.node(1, 10, [Ready, Maint]), stage.node(3, 1, [Maint, Ready])]).unwrap();
    stage.check(&[InLine, Behind]);
    let states: Vec<_> = found.backends[0].servers.iter().map(|server| server.state()).collect();
    assert_eq!((states, found.backends[0].sessions), (vec![Ready, Ready, Maint], 4));
}

#[test]
fn those_that_go_on_and_differ_are_told_and_left_alone() {
    let mut stage = Stage::new(2);
    stage.take([stage.node(1, 9, [Ready, Maint]), stage.node(2, 9, [Ready, Maint])]);
    let found = stage.take([stage.node(1, 10, [Maint, Maint]), stage.node(2, 10, [Ready, Maint])]).unwrap();
    stage.check(&[InLine, InLine]);
    let alike: Vec<bool> = found.backends[0].servers.iter().map(|server| server.alike).collect();
    assert_eq!(alike, [true, false, true]);
    let states = vec![(0, Some(Maint)), (1, Some(Ready))];
    assert_eq!(
        stage.nodes.differences(),
        [Difference { server: stage.site.id("s2"), states, addresses: vec![] }]
    );
}

#[test]
fn what_somebody_has_changed_on_one_of_them_is_not_undone_when_that_one_was_away_for_a_moment() {
    let mut stage = Stage::new(2);
    let left_alone = BTreeSet::from([stage.site.id("s2")]);
    stage.nodes.keep(vec![Kept { left_alone, ..declared(stage.site.backend.id, 1) }]);
    stage.take([stage.node(1, 9, [Ready, Maint]), stage.node(2, 9, [Ready, Maint])]);
    stage.take([stage.node(1, 10, [Maint, Maint]), stage.node(2, 10, [Ready, Maint])]);
    stage.take([GONE(), stage.node(2, 11, [Ready, Maint])]);
    stage.take([stage.node(1, 12, [Maint, Maint]), stage.node(2, 12, [Ready, Maint])]);
    assert_eq!(stage.told(0), []);
    stage.check(&[InLine, InLine]);
    stage.take([stage.node(3, 0, [Maint, Maint]), stage.node(2, 13, [Ready, Maint])]);
    assert_eq!(stage.told(0), [stage.to("s2", Ready)], "another process: it is nobody's doing there");
}

#[test]
fn what_somebody_changes_on_one_that_lags_behind_is_not_undone() {
    let mut stage = Stage::new(2);
    stage.take([stage.node(1, 9, [Ready, Ready]), GONE()]);
    stage.take([stage.node(1, 10, [Ready, Ready]), stage.node(2, 1, [Ready, Maint])]);
    assert_eq!(stage.told(1), [stage.to("s3", Ready)]);
    stage.take([stage.node(1, 11, [Ready, Ready]), stage.node(2, 2, [AdminState::Drain, Maint])]);
    assert_eq!(stage.told(1), [stage.to("s3", Ready)], "and nothing of s2");
    stage.take([stage.node(1, 12, [Ready, Ready]), stage.node(2, 3, [AdminState::Drain, Ready])]);
    stage.check(&[InLine, InLine]);
    stage.take([stage.node(1, 13, [Ready, Ready]), stage.node(2, 4, [AdminState::Drain, Ready])]);
    assert_eq!(stage.nodes.differences().len(), 1);
}

#[test]
fn at_first_the_one_that_has_run_longest_is_right() {
    let mut stage = Stage::new(3);
    stage.take([
        stage.node(1, 5, [Maint, Maint]),
        stage.node(2, 9, [Ready, Maint]),
        stage.node(3, 2, [Ready, Maint]),
    ]);
    stage.check(&[Behind, InLine, InLine]);
    assert_eq!(stage.told(0), [stage.to("s2", Ready)]);
}

#[test]
fn those_restarted_together_go_on_from_what_they_say() {
    let mut stage = Stage::new(2);
    stage.take([stage.node(1, 9, [Ready, Ready]), stage.node(2, 9, [Ready, Ready])]);
    let found = stage.take([stage.node(3, 1, [Maint, Maint]), stage.node(4, 1, [Maint, Maint])]).unwrap();
    stage.check(&[InLine, InLine]);
    assert_eq!(found.backends[0].serving().count(), 1);
}

#[test]
fn what_is_wanted_is_known_though_all_others_are_away_for_a_moment() {
    let mut stage = Stage::new(2);
    stage.take([stage.node(1, 9, [Ready, Ready]), stage.node(2, 9, [Ready, Ready])]);
    stage.take([stage.node(1, 10, [Ready, Ready]), stage.node(3, 1, [Maint, Maint])]);
    stage.check(&[InLine, Behind]);
    let found = stage.take([GONE(), stage.node(3, 2, [Ready, Maint])]).unwrap();
    stage.check(&[Absent, Behind]);
    assert_eq!(stage.told(1), [stage.to("s3", Ready)]);
    assert_eq!(found.backends[0].serving().count(), 2, "it is all there is");
    stage.take([stage.node(1, 12, [Ready, Ready]), stage.node(3, 3, [Ready, Maint])]);
    stage.check(&[InLine, Behind]);
}

#[test]
fn what_is_refused_is_told_again_when_it_is_back_anew_or_after_a_while() {
    let mut stage = Stage::new(2);
    stage.take([stage.node(1, 9, [Ready, Ready]), GONE()]);
    stage.take([stage.node(1, 10, [Ready, Ready]), stage.node(2, 1, [Ready, Maint])]);
    let [correction] = &stage.told(1)[..] else { panic!("{:?}", stage.told(1)) };
    stage.nodes.refused(1, correction.clone(), "permission denied".to_owned(), stage.now);
    stage.take([stage.node(1, 11, [Ready, Ready]), stage.node(2, 2, [Ready, Maint])]);
    stage.check(&[InLine, InLine]);
    stage.take([stage.node(1, 12, [Ready, Ready]), stage.node(2, 3, [Ready, Maint])]);
    assert_eq!(stage.nodes.differences().len(), 1, "it differs, and is left alone");
    stage.now += AGAIN_AFTER;
    stage.take([stage.node(1, 72, [Ready, Ready]), stage.node(2, 63, [Ready, Maint])]);
    stage.take([stage.node(1, 73, [Ready, Ready]), stage.node(2, 64, [Ready, Maint])]);
    assert_eq!(stage.told(1), std::slice::from_ref(correction));
    stage.nodes.refused(1, correction.clone(), "permission denied".to_owned(), stage.now);
    stage.take([stage.node(1, 74, [Ready, Ready]), stage.node(2, 65, [Ready, Maint])]);
    stage.now += AGAIN_AFTER;
    stage.take([stage.node(1, 140, [Ready, Ready]), stage.node(2, 130, [Ready, Maint])]);
    stage.check(&[InLine, InLine]);
    stage.take([stage.node(1, 141, [Ready, Ready]), stage.node(4, 1, [Ready, Maint])]);
    assert_eq!(stage.told(1), std::slice::from_ref(correction));
}

#[test]
fn a_slot_that_has_not_got_its_address_is_not_taken_into_service() {
    let mut stage = Stage::new(2);
    testing::slot(stage.site.server("s2"));
    let kept = declared(stage.site.backend.id, 1);
    stage.nodes.keep(vec![Kept { spares: Spares::Slots { placeholder: None, grow: None }, ..kept }]);
    let lacking = stage.node(2, 1, [Maint, Maint]);
    testing::move_to(stage.site.server("s2"), "10.0.0.1:80");
    let serving = |stage: &Stage, uptime_s| stage.node(1, uptime_s, [Ready, Maint]);
    stage.take([serving(&stage, 9), GONE()]);
    stage.take([serving(&stage, 10), lacking.clone()]);
    let [address, state] = &stage.told(1)[..] else { panic!("{:?}", stage.told(1)) };
    assert!(matches!(address, Correction::Address { .. }) && *state == stage.to("s2", Ready));
    stage.nodes.refused(1, address.clone(), "not today".to_owned(), stage.now);
    stage.take([serving(&stage, 11), lacking]);
    assert_eq!(stage.told(1), []);
    stage.check(&[InLine, InLine]);
}

#[test]
fn a_backend_that_one_lacks_is_left_out_there() {
    let mut stage = Stage::new(2);
    let empty = testing::inventory(testing::process(2, 1), Vec::new());
    let found = stage.take([stage.node(1, 9, [Ready, Maint]), Some(Ok(empty))]).unwrap();
    stage.check(&[InLine, InLine]);
    assert_eq!(stage.nodes.states()[1].lacks, [stage.site.backend.id]);
    assert!(found.backends[0].servers.iter().all(|server| server.alike));
}

#[test]
fn a_weight_that_is_the_configured_one_there_is_the_configured_one_here() {
    let mut stage = Stage::new(2);
    testing::maint(stage.site.server("s3"));
    let weight = crate::core::units::Weight::saturating;
    let wanted = stage.site.backend.clone();
    let mut found = wanted.clone();
    (found.servers[0].weight, found.servers[0].initial_weight) = (weight(7.0), weight(20.0));
    let server = stage.site.id("s1");
    let told = |wanted: &BackendState, found: &BackendState| todo(wanted, found, Duration::ZERO).now;
    assert_eq!(told(&wanted, &found), [Correction::Weight { server, to: weight(20.0) }]);
    let mut wanted = wanted;
    wanted.servers[0].weight = weight(3.0);
    assert_eq!(told(&wanted, &found), [Correction::Weight { server, to: weight(3.0) }]);
    // One that was changed and kept is the configured one there now, and not here.
    (wanted.servers[0].weight, wanted.servers[0].initial_weight) = (weight(7.0), weight(7.0));
    assert_eq!(told(&wanted, &found), []);
}

#[test]
fn a_server_that_tracks_another_one_has_a_weight_of_its_own() {
    let mut found = Site::new(2);
    found.server("s2").tracks = Some(found.id("s1"));
    let mut wanted = found.clone();
    wanted.server("s2").weight = Weight::saturating(7.0);
    testing::drain(found.server("s2"));
    let todo = todo(&wanted.backend, &found.backend, Duration::ZERO);
    let weight = Correction::Weight { server: found.id("s2"), to: Weight::saturating(7.0) };
    assert_eq!((todo.now, todo.later), (vec![weight], vec![]));
}

#[test]
fn a_drain_that_does_not_end_is_ended() {
    let mut stage = Stage::new(2);
    let mut wanted = stage.site.backend.clone();
    testing::maint(&mut wanted.servers[1]);
    stage.site.server("s2").sessions = 1;
    testing::drain(stage.site.server("s2"));
    let found = &stage.site.backend;
    let maint = stage.to("s2", Maint);
    let early = todo(&wanted, found, Duration::from_secs(5));
    assert_eq!((early.now, early.later), (vec![], vec![maint.clone()]));
    assert_eq!(todo(&wanted, found, Duration::from_secs(60)).now, [maint]);
}

#[test]
fn a_weight_of_0_takes_no_more_servers_away_than_may_go() {
    let found = Site::new(2);
    let mut wanted = found.clone();
    wanted.backend.servers.iter_mut().for_each(|server| server.weight = Weight::ZERO);
    let todo = todo(&wanted.backend, &found.backend, Duration::ZERO);
    let emptied = |server| Correction::Weight { server: found.id(server), to: Weight::ZERO };
    assert_eq!((todo.now, todo.later), (vec![emptied("s1")], vec![emptied("s2")]));
}

#[test]
fn nobody_gets_in_line_by_a_reading_that_something_was_changed_in() {
    let mut stage = Stage::new(2);
    stage.take([stage.node(1, 9, [Ready, Maint]), stage.node(2, 5, [Ready, Ready])]);
    stage.check(&[InLine, Behind]);
    let alike = [stage.node(1, 10, [Ready, Maint]), stage.node(2, 6, [Ready, Maint])];
    stage.take_reading(alike.clone(), false);
    stage.check(&[InLine, Behind]);
    stage.take_reading(alike, true);
    stage.check(&[InLine, InLine]);
}

#[test]
fn while_none_is_in_line_what_is_wanted_moves_with_the_plans() {
    let mut stage = Stage::new(2);
    stage.take([stage.node(1, 9, [Ready, Maint]), stage.node(2, 5, [Ready, Ready])]);
    stage.take([stage.node(3, 0, [Ready, Ready]), stage.node(2, 6, [Ready, Ready])]);
    stage.check(&[Behind, Behind]);
    let drained = stage.to("s2", AdminState::Drain);
    stage.nodes.made(stage.site.backend.id, &drained);
    let both = [stage.node(3, 1, [AdminState::Drain, Maint]), stage.node(2, 7, [AdminState::Drain, Maint])];
    stage.take(both);
    stage.check(&[InLine, InLine]);
}

#[test]
fn the_same_haproxy_by_two_sockets_counts_once() {
    let mut stage = Stage::new(2);
    stage.site.backend.sessions = 3;
    let on_machine = |answer: Option<Answer>, node: &str| {
        answer.map(|answer| {
            answer.map(|mut found| {
                found.process.node = Some(node.to_owned());
                found
            })
        })
    };
    let one = || on_machine(stage.node(1, 9, [Ready, Maint]), "a");
    let (twins, elsewhere) = ([one(), one()], on_machine(stage.node(1, 9, [Ready, Maint]), "b"));
    let restarted = on_machine(stage.node(2, 1, [Maint, Maint]), "a");
    let found = stage.take(twins.clone()).unwrap();
    stage.check(&[InLine, Standing::Twin(0)]);
    assert_eq!((found.backends[0].sessions, stage.nodes.answering()), (3, vec![0]));
    // It is asked in the background only, and is not told anything.
    stage.take([restarted.clone(), restarted.clone()]);
    stage.check(&[InLine, Standing::Twin(0)]);
    assert!(stage.nodes.corrections().is_empty());
    // The same pid in another container is another one, and so is one that was restarted alone.
    stage.take([restarted.clone(), elsewhere]);
    stage.check(&[InLine, Behind]);
    stage.take([restarted, twins[0].clone()]);
    stage.check(&[InLine, Behind]);
}

/// Two that serve with s2; both are reloaded, the second before the first has got s2 back.
fn reloaded_one_after_the_other() -> Stage {
    let mut stage = Stage::new(2);
    stage.take([stage.node(1, 50, [Ready, Maint]), stage.node(2, 60, [Ready, Maint])]);
    let found = stage.take([stage.node(3, 0, [Maint, Maint]), stage.node(2, 61, [Ready, Maint])]).unwrap();
    assert_eq!(found.in_line, [1]);
    let found = stage.take([stage.node(3, 1, [Maint, Maint]), stage.node(4, 0, [Maint, Maint])]).unwrap();
    stage.check(&[Behind, Behind]);
    assert!(found.in_line.is_empty());
    stage
}

#[test]
fn those_restarted_one_after_the_other_get_back_what_they_had() {
    let mut stage = reloaded_one_after_the_other();
    for node in 0..2 {
        assert_eq!(stage.told(node), [stage.to("s2", Ready)]);
    }
    let found = stage.take([stage.node(3, 2, [Ready, Maint]), stage.node(4, 1, [Maint, Maint])]).unwrap();
    stage.check(&[InLine, Behind]);
    assert_eq!((found.in_line, found.backends[0].serving().count()), (vec![0], 2));
}

#[test]
fn those_of_which_none_gets_in_line_for_long_are_gone_by_all_the_same() {
    let mut stage = reloaded_one_after_the_other();
    // One restart after the other.
    for at in 2..LEADERLESS_AT_MOST.as_secs() as u32 + 1 {
        let nodes = [stage.node(3, at.into(), [Maint, Maint]), stage.node(3 + at, 0, [Maint, Maint])];
        assert!(stage.take(nodes).unwrap().in_line.is_empty(), "after {at} s");
    }
    let found = stage.take([stage.node(3, 31, [Maint, Maint]), stage.node(99, 0, [Maint, Maint])]).unwrap();
    stage.check(&[InLine, InLine]);
    assert!(!found.in_line.is_empty());
}

#[test]
fn a_server_that_others_track_takes_them_with_it() {
    let mut found = Site::new(3);
    let s1 = found.id("s1");
    (found.server("s2").tracks, found.server("s3").tracks) = (Some(s1), Some(s1));
    let mut wanted = found.clone();
    testing::drain(wanted.server("s1"));
    let todo = todo(&wanted.backend, &found.backend, Duration::ZERO);
    let drain = Correction::State { server: s1, to: AdminState::Drain };
    assert_eq!((todo.now, todo.later), (vec![], vec![drain]));
}

#[test]
fn a_server_may_go_though_of_those_that_stay_some_track_each_other() {
    let mut found = Site::new(3);
    let s1 = found.id("s1");
    found.server("s2").tracks = Some(s1);
    let mut wanted = found.clone();
    testing::drain(wanted.server("s3"));
    let places = Places { kept: &declared(found.backend.id, 2), added: &BTreeSet::new() };
    let todo = align::todo(&wanted.backend, &found.backend, &places, 2, Duration::ZERO);
    let drain = Correction::State { server: found.id("s3"), to: AdminState::Drain };
    assert_eq!((todo.now, todo.later), (vec![drain], vec![]));
}
