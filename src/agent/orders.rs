//! What operators ask for over the agent's socket, and what they are answered.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp, Zoned};
use serde_json::{Value, json};

use super::Agent;
use crate::config::nearest::nearest;
use crate::core::controller::{Operator, Order, Override, ServerView, View};
use crate::core::names::{BackendId, Names, ServerId};
use crate::core::plan::inventory::AdminState;
use crate::core::plan::ownership::Role;
use crate::core::plan::step::Purpose;
use crate::core::policy::Span;
use crate::core::policy::fleet::Fleet;
use crate::core::settings::schedule::CivilTime;
use crate::core::units::Weight;
use crate::telemetry::socket::Request;
use crate::telemetry::{explain, status, words};

impl Agent {
    /// Does what is asked for; the answer is JSON with a `text`, or an `error`.
    pub(super) fn request(&mut self, request: &Request, by: Operator) -> String {
        let now = Instant::now();
        let answer = match request {
            Request::Status => return self.status(now),
            Request::Explain { backend } => self.find(backend).map(|id| self.explanation(id, now)),
            Request::Pause { backend, for_s } => {
                self.find(backend).map(|id| self.order(id, Order::Pause, *for_s, by, now))
            }
            Request::Pin { backend, to, for_s } => {
                self.find(backend).map(|id| self.order(id, Order::Pin((*to).max(1)), *for_s, by, now))
            }
            Request::Resume { backend } => self.find(backend).map(|id| self.resume(id, by, now)),
        };
        answer.unwrap_or_else(|error| json!({ "error": error })).to_string()
    }

    /// The backend of that name; else which ones there are.
    fn find(&self, name: &str) -> Result<BackendId, String> {
        let known: Vec<String> = self.controller.backend_names().collect();
        if known.iter().any(|known| known == name) {
            return self.names.known_backend(name).ok_or_else(|| "it is not known yet".to_owned());
        }
        let hint = match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "it only observes".to_owned(),
            None => format!("it scales {}", known.join(", ")),
        };
        Err(format!("this agent scales no backend `{name}`\n  {hint}"))
    }

    fn explanation(&mut self, id: BackendId, now: Instant) -> Value {
        let pool = self.pools.trouble(&self.names.of_backend(id));
        let view = self.controller.view(id, now);
        let mut value = view.map_or(Value::Null, |view| explain::backend(&view, pool, &self.names));
        let name = value["backend"].clone();
        let recent: Vec<&Value> = self.recent.iter().filter(|entry| entry["backend"] == name).collect();
        value["recent"] = json!(recent);
        value["dry_run"] = json!(self.settings.dry_run);
        value
    }

    fn order(
        &mut self,
        id: BackendId,
        order: Order,
        for_s: Option<u64>,
        by: Operator,
        now: Instant,
    ) -> Value {
        let lasts = for_s.map(|seconds| Duration::from_secs(seconds.min(LONGEST.as_secs())));
        let wanted = Override { order, by, since: now, until: lasts.map(|lasts| now + lasts) };
        // As it is without the order, which is carried out at once.
        let Some(found) = self.controller.view(id, now) else { return Value::Null };
        let before = self.controller.handle_order(id, wanted.clone(), now);
        let Some(view) = self.controller.view(id, now) else { return Value::Null };
        let name = self.names.of_backend(id);
        let mut text = format!("{name} is {}", words::begun(&wanted));
        match lasts {
            Some(lasts) => text.push_str(&format!(", until {}", clock_in(lasts))),
            None => text.push_str(&format!(", until `haproxy-autoscale resume {name}`")),
        }
        if let Some(before) = before {
            text.push_str(&format!("; it was {} by {} before", words::ordered(before.order), before.by.name));
        }
        let more = match order {
            Order::Pause => self.what_a_pause_leaves(&found),
            Order::Pin(to) => what_a_pin_means(to, &found),
        };
        if self.settings.dry_run {
            text.push_str("\n  this is a dry run: nothing is moved anyway");
        }
        text.extend(more.iter().map(|line| format!("\n  {line}")));
        json!({ "backend": &*name, "text": text, "override": status::order(&view) })
    }

    /// What is finished all the same.
    fn what_a_pause_leaves(&self, view: &View) -> Vec<String> {
        let who: Vec<String> =
            view.under_way.iter().map(|&server| self.names.of_server(server).to_string()).collect();
        let who = who.join(", ");
        match view.moving {
            Some(Purpose::Add) => vec![format!("the move under way is finished: {who} to serve")],
            Some(Purpose::Remove) => vec![format!("the move under way is finished: {who} to MAINT")],
            Some(Purpose::ShutDown) => vec![format!("sessions that are being closed are closed: {who}")],
            Some(Purpose::Reweigh) => vec!["weights that are being set are set".to_owned()],
            None => Vec::new(),
        }
    }

    fn resume(&mut self, id: BackendId, by: Operator, now: Instant) -> Value {
        let name = self.names.of_backend(id);
        let left_alone = self.left_alone(id, now);
        let resumed = self.controller.handle_resume(id, by, now);
        let mut text = match resumed.order {
            Some(ended) => {
                let (ordered, by) = (words::ordered(ended.order), &ended.by.name);
                let lasted = Span(now.saturating_duration_since(ended.since));
                format!("{name} is scaled by its policy again; it was {ordered} by {by} for {lasted}")
            }
            None => format!("{name} is scaled by its policy: it was neither paused nor pinned"),
        };
        match resumed.servers {
            0 => {}
            1 => text.push_str("\n  one server that somebody else changed is no longer left alone"),
            n => {
                text.push_str(&format!("\n  {n} servers that somebody else changed are no longer left alone"))
            }
        }
        let view = self.controller.view(id, now);
        let stays = view.iter().flat_map(|view| &view.servers);
        let stays = stays.filter(|server| left_alone.contains(&server.state.id));
        for line in stays.filter_map(|server| stays_as_it_is(server, &name, &self.names)) {
            text.push_str(&format!("\n  {line}"));
        }
        json!({ "backend": &*name, "text": text, "override": Value::Null })
    }

    /// The servers that somebody else has changed.
    fn left_alone(&mut self, id: BackendId, now: Instant) -> HashSet<ServerId> {
        let servers = self.controller.view(id, now).map(|view| view.servers).unwrap_or_default();
        servers.iter().filter(|server| server.left_alone.is_some()).map(|server| server.state.id).collect()
    }
}

/// What somebody has done, and this agent does not undo: a DRAIN, a MAINT, a weight of 0 that are not its own.
fn stays_as_it_is(server: &ServerView, backend: &str, names: &Names) -> Option<String> {
    let (state, weight) = (server.state.state(), server.state.weight);
    let name = names.of_server(server.state.id);
    let (what, undo) = match state {
        AdminState::Ready if weight == Weight::ZERO => ("keeps its weight of 0".to_owned(), "weight 100%"),
        AdminState::Drain | AdminState::Maint if server.role == Role::Foreign => {
            (format!("stays in {}", state.name()), "state ready")
        }
        _ => return None,
    };
    Some(format!(
        "{name} {what}, which is not of this agent's doing; to undo it: `set server {backend}/{name} {undo}`"
    ))
}

/// The longest an order may last; whoever means longer means without an end.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// What will come of a pin, if it is not what was asked for.
fn what_a_pin_means(to: u32, view: &View) -> Vec<String> {
    let mut more = Vec::new();
    let limits = view.limits.now;
    if to < limits.min {
        more.push(format!("{} is the fewest allowed, so {0} will serve", limits.min));
    }
    if let Some(max) = limits.max.filter(|&max| to > max) {
        more.push(format!("that is above `ready.max` ({max}), and holds all the same"));
    }
    match status::known_fleet(view) {
        None => more.push("no answer from HAProxy now: it is done as soon as there is one".to_owned()),
        Some(fleet) => more.extend(what_there_is_to_pin(to, fleet, view.moving.is_some())),
    }
    more
}

/// Whether there are servers enough, and how many serve.
fn what_there_is_to_pin(to: u32, fleet: Fleet, is_moving: bool) -> Vec<String> {
    let (most, serving) = (fleet.serving + fleet.startable, fleet.serving);
    let too_few = (most < to && !is_moving)
        .then(|| format!("{most} servers at most can serve: there are no more spares"));
    let now = match serving {
        1 => "1 server serves now".to_owned(),
        serving => format!("{serving} servers serve now"),
    };
    too_few.into_iter().chain([now]).collect()
}

/// The time on the clock `after` now, with its date if that is another day.
fn clock_in(after: Duration) -> String {
    let now = Zoned::now();
    let Ok(then) = now.checked_add(SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX)) else {
        return "the end of days".to_owned();
    };
    let form = if then.date() == now.date() { "%H:%M:%S %Z" } else { "%a %Y-%m-%d %H:%M %Z" };
    then.strftime(form).to_string()
}

/// What the clocks on the wall say.
pub(super) fn local_time() -> CivilTime {
    let now = Zoned::now();
    CivilTime::new(Timestamp::as_second(now.timestamp()) + i64::from(now.offset().seconds()))
}
