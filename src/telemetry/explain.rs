//! Why a backend is as it is, in words for a tired operator: what is, what the agent wants and why, what
//! limits it, and when it may move next.

use std::time::Duration;

use serde_json::{Value, json};

use super::evaluation;
use super::files::PoolTrouble;
use super::progress;
use super::status;
use super::words::{self, civil_words};
use crate::core::controller::{Health, Order, ServerView, View};
use crate::core::estimate::snapshot::Snapshot;
use crate::core::names::{Names, ServerId};
use crate::core::plan::inventory::AdminState;
use crate::core::plan::ownership::Role;
use crate::core::plan::step::Purpose;
use crate::core::policy::Span;
use crate::core::policy::decision::{Decision, Reason};
use crate::core::policy::replacement::{Replacement, Unreplaced};
use crate::core::settings::ReadyLimits;

/// What `status` says of the backend, and the same in sentences.
pub fn backend(view: &View, pool: Option<&PoolTrouble>, names: &Names) -> Value {
    let mut value = status::backend(view, pool, names);
    let is = [servers(view, names), latency(view), load(view), model(view, names)].concat();
    value["evaluation"] = json!(view.evaluation.as_ref().map(evaluation::value));
    value["explanation"] = json!({
        "is": is,
        "wants": wants(view),
        "limited_by": limits(view, pool, names),
        "next_move": next_move(view),
    });
    value
}

/// Who serves, and who does not.
fn servers(view: &View, names: &Names) -> Vec<String> {
    if view.servers.is_empty() {
        return Vec::new();
    }
    let list = |wanted: &dyn Fn(&&ServerView) -> bool| {
        let found = view.servers.iter().filter(wanted);
        found.map(|server| names.of_server(server.state.id).to_string()).collect::<Vec<_>>().join(", ")
    };
    let no_answer = match view.health {
        Health::HaproxyAbsent => Some("HAProxy does not answer; when it did last:".to_owned()),
        _ => None,
    };
    let serving = view.servers.iter().filter(|server| server.state.is_serving()).count();
    let there = view.servers.iter().filter(|server| !server.state.is_absent()).count();
    let mut text = format!("{serving} of {there} servers serve");
    let is_ready = |server: &ServerView| server.state.state() == AdminState::Ready;
    let is_other = |server: &ServerView| server.role == Role::Foreign && !is_ready(server);
    let groups = [
        (":", list(&|server| server.state.is_serving())),
        ("; DOWN:", list(&|server| is_ready(server) && !server.state.is_up())),
        (
            "; READY with weight 0:",
            list(&|server| is_ready(server) && server.state.is_up() && server.state.weight.value() == 0),
        ),
        ("; spare:", list(&|server| server.role == Role::Spare)),
        ("; slots without an address:", list(&|server| server.role == Role::Vacant)),
        (
            "; on their way out, their addresses have left the pool:",
            list(&|server| server.role == Role::Retired),
        ),
        ("; draining:", list(&|server| server.role == Role::Draining)),
        ("; changed by somebody else:", list(&|server| is_other(server) && server.left_alone.is_some())),
        ("; not ours:", list(&|server| is_other(server) && server.left_alone.is_none())),
    ];
    for (what, who) in groups.iter().filter(|(_, who)| !who.is_empty()) {
        text.push_str(&format!("{what} {who}"));
    }
    let missing = (view.missing_slots > 0).then(|| match view.missing_slots {
        1 => "1 address of the pool has no slot in haproxy.cfg".to_owned(),
        many => format!("{many} addresses of the pool have no slot in haproxy.cfg"),
    });
    let to_come = (!view.slots_to_come.is_empty())
        .then(|| format!("haproxy.cfg gets the slots {}", view.slots_to_come.join(", ")));
    let unread = view.unread.iter().map(|unread| format!("left out, {}", status::left_out(unread, names)));
    let told = no_answer.into_iter().chain([text]).chain(unread);
    told.chain(down(view, names)).chain(missing).chain(to_come).collect()
}

/// Who takes the places of servers that are DOWN, or why nobody does.
fn down(view: &View, names: &Names) -> Vec<String> {
    let name = |server: ServerId| names.of_server(server).to_string();
    let is_replaced = |server: &&ServerView| server.stand_in.is_some();
    let replaced = Replacement {
        servers: view.servers.iter().filter(is_replaced).map(|server| name(server.state.id)).collect(),
        stand_ins: view.servers.iter().filter_map(|server| server.stand_in).map(name).collect(),
    };
    let replaced = Some(replaced).filter(|it| !it.servers.is_empty()).map(|it| it.to_string());
    let vacant = view.servers.iter().filter(|server| server.stand_in.is_none());
    let vacant = vacant.filter_map(|server| Some((name(server.state.id), server.vacancy?)));
    replaced.into_iter().chain(Unreplaced::by_reason(vacant).map(|it| it.to_string())).collect()
}

fn latency(view: &View) -> Vec<String> {
    let (target, window) = (view.target, Span(view.window.length));
    let (statistic, timer, below) = (target.statistic, target.timer.name(), Span(target.below));
    let now = match view.snapshot.latency {
        Some(latency) => format!("is {}", Span(latency)),
        None => "is not known".to_owned(),
    };
    let mut text = format!("{statistic} of {timer} over {window} {now}; the target is below {below}");
    if decides_by_band(view) {
        let band = view.settings.band;
        let (lower, upper) = (Span(band.lower()), Span(band.upper()));
        text.push_str(&format!(" (more servers above {upper}, fewer below {lower})"));
    }
    vec![text]
}

/// The model does not, or knows too little.
fn decides_by_band(view: &View) -> bool {
    view.evaluation.as_ref().is_none_or(|evaluation| evaluation.carried.is_none())
}

fn model(view: &View, names: &Names) -> Vec<String> {
    view.evaluation.as_ref().map(|it| evaluation::figures(it, names)).unwrap_or_default()
}

fn load(view: &View) -> Vec<String> {
    let Snapshot { samples, rate, concurrency, tally, .. } = view.snapshot;
    let waiting = view.fleet.map_or(0, |fleet| fleet.queued);
    let mut text = format!(
        "{samples} requests, {rate:.1} a second, {concurrency:.1} at a time; {waiting} wait in HAProxy"
    );
    let failures = [
        ("on their servers", tally.server),
        ("for want of room", tally.saturation),
        ("by HAProxy's own answer", tally.proxy),
    ];
    for (how, failed) in failures.into_iter().filter(|&(_, failed)| failed > 0) {
        text.push_str(&format!("; {failed} failed {how}"));
    }
    vec![text]
}

fn wants(view: &View) -> Vec<String> {
    let Some((decision, _)) = &view.decision else {
        return vec!["nothing yet: no evaluation was made".to_owned()];
    };
    let need = view.evaluation.as_ref().filter(|_| answers(view)).and_then(evaluation::need);
    // Under a pin it may want nothing but what the pin wants.
    let is_its_own = |wish: &&Decision| match wish.reason() {
        Reason::Scheduled { reason, .. } if wish_is_pinned(view) => {
            !matches!(**reason, Reason::BelowMin { .. } | Reason::AboveMax { .. })
        }
        _ => true,
    };
    let wish = view.wish.as_ref().filter(is_its_own);
    let by_itself = wish.map(|wish| format!("by itself it would want {}", wanted(wish)));
    [wanted(decision)].into_iter().chain(by_itself).chain(need).collect()
}

fn wish_is_pinned(view: &View) -> bool {
    matches!(view.overridden.as_ref().map(|wanted| wanted.order), Some(Order::Pin(_)))
}

/// What is known of HAProxy is of now.
fn answers(view: &View) -> bool {
    !matches!(view.health, Health::HaproxyAbsent | Health::BackendAbsent)
}

/// `2 more servers: p95 412 ms has been above 250 ms for 20 s`.
fn wanted(decision: &Decision) -> String {
    let servers = |by: u32| if by == 1 { "server" } else { "servers" };
    let what = match decision {
        Decision::Hold(_) => "no change".to_owned(),
        Decision::ScaleUp { by, .. } => format!("{by} more {}", servers(*by)),
        Decision::ScaleDown { by, .. } => format!("{by} {} fewer", servers(*by)),
        Decision::Reweigh { .. } => "other weights".to_owned(),
    };
    format!("{what}: {}", decision.reason())
}

/// Each thing that keeps it from moving, or will.
fn limits(view: &View, pool: Option<&PoolTrouble>, names: &Names) -> Vec<String> {
    let mut limits = Vec::new();
    limits.extend(pool.map(|trouble| {
        let (error, remedy, meanwhile) = (&trouble.error, trouble.remedy, trouble.meanwhile());
        format!("its pool could not be read: {error}; {remedy}; {meanwhile}")
    }));
    limits.extend(
        view.overridden.as_ref().map(|order| format!("an operator's order: {}", words::begun(order))),
    );
    limits.extend(view.decision.as_ref().and_then(|(_, refused)| refused.clone()));
    limits.extend(under_way(view, names));
    limits.extend(view.doubt.as_ref().map(|doubt| format!("the log cannot be gone by: {doubt}")));
    if !view.cooldown.is_zero() {
        let more = if view.overridden.is_none() { ", and only a burst adds" } else { "" };
        limits.push(format!("cooling down for {}: nothing is taken away{more}", Span(view.cooldown)));
    }
    let rules = view.overridden.is_none() && answers(view);
    let of_the_model = view.evaluation.iter().filter(|_| rules).flat_map(|evaluation| &evaluation.limits);
    limits.extend(of_the_model.map(ToString::to_string));
    for server in &view.servers {
        let name = names.of_server(server.state.id);
        if let Some(left) = server.left_alone {
            limits.push(format!(
                "{name} was changed by somebody else, and is left alone for {}, or until `resume`",
                Span(left)
            ));
        }
        if let Some(left) = server.quarantine {
            limits
                .push(format!("{name} failed to start, or stood out, and is passed over for {}", Span(left)));
        }
    }
    let kept = view.servers.iter().filter(|server| server.kept.is_some());
    limits.extend(kept.filter_map(|server| {
        let doing = progress::words(server)?;
        Some(format!("{} is in DRAIN: {doing}", names.of_server(server.state.id)))
    }));
    limits.push(may_serve(view));
    limits
}

fn under_way(view: &View, names: &Names) -> Option<String> {
    let who: Vec<String> = view.under_way.iter().map(|&server| names.of_server(server).to_string()).collect();
    let who = who.join(", ");
    Some(match view.moving? {
        Purpose::Add => format!("a move is being carried out: {who} to serve"),
        Purpose::Remove => format!("a move is being carried out: {who} to MAINT"),
        Purpose::ShutDown => format!("sessions that had not ended are being closed: {who}"),
        Purpose::Reweigh => "weights are being set".to_owned(),
    })
}

fn may_serve(view: &View) -> String {
    let limits = &view.limits;
    let mut text = format!("servers that may serve: {}", range(limits.now));
    if let Some(entry) = &limits.entry {
        text.push_str(&format!(" ({entry})"));
    }
    if let Some((time, next)) = &limits.next {
        text.push_str(&format!("; from {} on {}", civil_words(*time), range(*next)));
    }
    text
}

/// `2 to 12`, `at least 1`.
pub fn range(limits: ReadyLimits) -> String {
    match limits.max {
        Some(max) if max == limits.min => format!("exactly {max}"),
        Some(max) => format!("{} to {max}", limits.min),
        None => format!("at least {}", limits.min),
    }
}

fn next_move(view: &View) -> String {
    let order = view.overridden.as_ref().map(|wanted| wanted.order);
    let Some(left) = view.next_move else { return "when somebody resumes it".to_owned() };
    match view.health {
        Health::HaproxyAbsent => return "as soon as HAProxy answers".to_owned(),
        Health::BackendAbsent => return "as soon as HAProxy has this backend".to_owned(),
        _ => {}
    }
    let reason = view.decision.as_ref().map(|(decision, _)| decision.reason());
    if let Some(Reason::NoneInLine { .. }) = reason {
        return "as soon as one HAProxy is in line".to_owned();
    }
    let span = Span(left);
    match order {
        Some(Order::Pause) => return format!("in {span}, when the pause is over"),
        Some(Order::Pin(_)) if view.moving.is_some() => return "when the move under way is over".to_owned(),
        Some(Order::Pin(_)) if left.is_zero() => return "as soon as more or fewer servers serve".to_owned(),
        Some(Order::Pin(_)) => {
            return format!("as soon as servers are missing; in {span} if there are too many");
        }
        None => {}
    }
    match (&view.evaluation, reason) {
        _ if view.moving.is_some() && decides_by_band(view) => "when the move under way is over".to_owned(),
        _ if !left.is_zero() => format!("in {span}, when the cooldown is over"),
        (Some(evaluation), _) if !decides_by_band(view) => evaluation::next_move(evaluation),
        (_, Some(Reason::JustStarted { left })) => format!("in {}, when the window is whole", Span(*left)),
        (_, reason) => match reason.and_then(has_to_last) {
            Some(left) => format!("in {}, if it lasts", Span(left)),
            None => "as soon as the figures ask for it".to_owned(),
        },
    }
}

/// Until what is pending has lasted.
fn has_to_last(reason: &Reason) -> Option<Duration> {
    match reason {
        Reason::PendingUp { since, needed, .. } | Reason::PendingDown { since, needed, .. } => {
            Some(needed.saturating_sub(*since))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    use crate::config::Config;
    use crate::core::controller::{Controller, Memory};
    use crate::core::policy::model::{Carried, Condition, Evaluation, Forecast, Limit};

    /// A backend that nothing is known of, and what `change` makes of it.
    fn explained(change: impl FnOnce(&mut View)) -> Value {
        let config = Config::default().with_backend("app", Some(Duration::from_millis(250)));
        let settings = config.expect("it has a target").backends;
        let (names, now) = (Names::default(), Instant::now());
        let mut controller = Controller::new(names.clone(), settings, &Memory::default(), now);
        let mut view = controller.views(now).remove(0);
        view.health = Health::Good;
        change(&mut view);
        backend(&view, None, &names)["explanation"].clone()
    }

    #[track_caller]
    fn check(part: &str, expected: &str, change: impl FnOnce(&mut View)) {
        let explained = explained(change);
        let lines: Vec<&str> = match &explained[part] {
            Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
            line => line.as_str().into_iter().collect(),
        };
        assert!(lines.contains(&expected), "{expected}\nis not among\n{lines:#?}");
    }

    fn hold(reason: Reason) -> Option<(Decision, Option<String>)> {
        Some((Decision::Hold(reason), None))
    }

    #[test]
    fn a_backend_that_nothing_is_known_of_is_explained_too() {
        check("wants", "nothing yet: no evaluation was made", |_| {});
        check("limited_by", "servers that may serve: at least 1", |_| {});
        check("next_move", "as soon as the figures ask for it", |_| {});
    }

    #[test]
    fn the_next_move_is_told_with_what_it_waits_for() {
        let s = Duration::from_secs;
        check("next_move", "in 12 s, when the cooldown is over", |view| view.next_move = Some(s(12)));
        check("next_move", "when somebody resumes it", |view| view.next_move = None);
        check("next_move", "when the move under way is over", |view| view.moving = Some(Purpose::Add));
        check("next_move", "in 7 s, when the window is whole", |view| {
            view.decision = hold(Reason::JustStarted { left: s(7) });
        });
        check("next_move", "in 4 s, if it lasts", |view| {
            let wish = Box::new(Reason::Idle { since: s(6) });
            view.decision = hold(Reason::PendingDown { wish, since: s(6), needed: s(10) });
        });
    }

    #[test]
    fn while_haproxy_does_not_answer_nothing_is_told_as_if_it_did() {
        let absent = |view: &mut View| {
            (view.health, view.evaluation) = (Health::HaproxyAbsent, Some(evaluation()));
            view.decision = hold(Reason::NoInventory);
        };
        check("next_move", "as soon as HAProxy answers", absent);
        let explained = explained(absent);
        let wants = ["no change: HAProxy does not answer: nothing can be moved"];
        assert_eq!(explained["wants"], json!(wants));
        assert_eq!(explained["limited_by"], json!(["servers that may serve: at least 1"]));
    }

    #[test]
    fn while_no_haproxy_is_in_line_that_is_what_is_waited_for() {
        check("next_move", "as soon as one HAProxy is in line", |view| {
            view.decision = hold(Reason::NoneInLine { at_most: Duration::from_secs(30) });
        });
    }

    #[test]
    fn more_servers_are_not_promised_where_there_are_none() {
        check("next_move", "more servers when there is one to add; fewer in 40 s at the earliest", |view| {
            view.evaluation = Some(Evaluation { limits: vec![Limit::NoSpare], ..evaluation() });
        });
    }

    #[test]
    fn under_a_pin_what_the_policy_waits_for_limits_nothing() {
        let pinned = |view: &mut View| {
            view.evaluation = Some(evaluation());
            view.decision = hold(Reason::Acting);
            let above = Box::new(Reason::AboveMax { serving: 4, max: 2 });
            let wish = Reason::Scheduled { reason: above, at: "pinned to 2".to_owned() };
            view.wish = Some(Decision::ScaleDown { by: 2, prefer: Vec::new(), reason: wish });
            let by = crate::core::controller::Operator::default();
            let since = Instant::now();
            let order = crate::core::controller::Override { order: Order::Pin(2), by, since, until: None };
            view.overridden = Some(order);
        };
        let explained = explained(pinned);
        assert_eq!(explained["limited_by"].as_array().map(Vec::len), Some(2), "{explained}");
        let text = explained["wants"].to_string();
        assert!(!text.contains("by itself"), "{text}");
    }

    fn evaluation() -> Evaluation {
        let carried = Carried {
            service: 0.08,
            workers: 4.0,
            knee: false,
            utilization: 0.8,
            gamma: 1.0,
            room: 1.0,
            carries: 3.2,
            floor: 0.0,
            limit: None,
        };
        Evaluation {
            condition: Condition::Steady,
            arrivals: 60.0,
            backlog: 3.0,
            carried: Some(carried),
            forecast: Forecast::default(),
            need_fast: 0.0,
            need_slow: 1.5,
            need_in: 1.5,
            want: 2,
            want_in: Some(2),
            serving: 3,
            starting: 0,
            parked: 0,
            lost: 0.0,
            unequal: Vec::new(),
            hold: Duration::from_secs(60),
            limits: vec![Limit::Hold(Duration::from_secs(40))],
            may_add_in: Duration::ZERO,
            may_remove_in: Duration::from_secs(40),
        }
    }

    #[test]
    fn servers_that_carry_less_or_more_than_the_others_are_named() {
        let names = Names::default();
        let backend_id = names.backend("app").expect("there is room");
        let ids = ["s1", "s2"].map(|name| names.server(backend_id, name).expect("there is room"));
        let unequal = vec![(ids[0], 0.52), (ids[1], 2.4)];
        let said = evaluation::figures(&Evaluation { unequal, lost: -0.9, ..evaluation() }, &names);
        assert_eq!(
            said[2..],
            ["s1 carries half of what the others do", "s2 carries 2.4 times what the others do"]
        );
    }

    #[test]
    fn what_the_model_knows_is_said_in_its_own_figures() {
        let with = |view: &mut View| view.evaluation = Some(evaluation());
        check(
            "is",
            "60.0 requests a second x 80 ms = 4.8 busy workers; a server has at least 4.0 and may keep 3.2 busy",
            with,
        );
        check("is", "3 requests wait beyond what is usual", with);
        check("wants", "the load takes 1.5 servers; wanted within the limits: 2", |view| {
            view.evaluation = Some(evaluation());
            view.decision = hold(Reason::Acting);
        });
        check("limited_by", "fewer must have been enough for 40 s longer", with);
        check(
            "next_move",
            "more servers as soon as the load asks for it; fewer in 40 s at the earliest",
            with,
        );
        let band = "p95 of Tt over 30 s is not known; the target is below 250 ms";
        check("is", band, with);
        check("is", &format!("{band} (more servers above 250 ms, fewer below 100 ms)"), |_| {});
    }
}
