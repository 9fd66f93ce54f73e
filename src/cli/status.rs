//! `haproxy-autoscale status`: what the running agent knows and does.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::output::{print_fitted, print_json, table, terminal_width};
use super::{Failure, Output, ask_agent, load_places};
use crate::core::policy::Span;
use crate::telemetry::socket::Request;

mod files;
mod lasting;

pub(super) fn run(config: Option<&Path>, output: Output) -> Result<(), Failure> {
    let status = ask_agent(&load_places(config)?, &Request::Status)?;
    match output {
        Output::Json => print_json(&status),
        Output::Text => print_fitted(&text(&status)),
    }
}

fn text(status: &Value) -> String {
    let mut text = head(status);
    for backend in list(&status["backends"]) {
        text.push_str(&backend_text(backend));
    }
    let recent = list(&status["recent"]);
    if !recent.is_empty() {
        text.push_str("\nlast decisions (UTC)\n");
        text.push_str(&table(&recent.iter().map(recent_row).collect::<Vec<_>>()));
    }
    text
}

fn head(status: &Value) -> String {
    let haproxy = &status["haproxy"];
    let answers = match (haproxy["answers"].as_bool(), haproxy["version"].as_str()) {
        (Some(true), version) => match list(&haproxy["nodes"]) {
            [] | [_] => format!("HAProxy {} answers", version.unwrap_or("?")),
            nodes => {
                let answer = nodes.iter().filter(|node| node["answers"] == true).count();
                format!("{answer} of {} HAProxys answer", nodes.len())
            }
        },
        _ if list(&status["backends"]).is_empty() => "observes only".to_owned(),
        (_, Some(_)) => "HAProxy does not answer any more".to_owned(),
        (_, None) => "HAProxy has not answered yet".to_owned(),
    };
    let absent = absent(&haproxy["absent"], !haproxy["version"].is_null());
    let lines = &status["lines"];
    let nodes = nodes(&haproxy["nodes"]);
    let lasting = lasting::text(list(&haproxy["nodes"]));
    let config = files::config(&status["config"]);
    format!(
        "haproxy-autoscale {}{}, process {}, running for {}; {answers}\n{absent}{nodes}{lasting}{config}\
         log: {} lines, {} requests, {} messages, {} not understood{}\n",
        word(&status["version"]),
        if status["dry_run"] == true { " (dry run)" } else { "" },
        word(&status["pid"]),
        span(&status["running_s"]),
        word(&lines["lines"]),
        word(&lines["requests"]),
        word(&lines["messages"]),
        word(&lines["unparsed"]),
        match lines["duplicate"].as_u64() {
            None | Some(0) => String::new(),
            Some(duplicate) => format!(", {duplicate} told twice"),
        },
    )
}

/// Since when HAProxy does not answer, and why; nothing while it does.
fn absent(absent: &Value, was_there: bool) -> String {
    let Some(since) = absent["since"].as_str() else { return String::new() };
    let old = if was_there { "  what follows is how it was then\n" } else { "" };
    format!("  since {}: {}\n{old}", utc(since), word(&absent["error"]))
}

/// A line for each of several HAProxys.
fn nodes(nodes: &Value) -> String {
    let nodes = list(nodes);
    if nodes.len() < 2 {
        return String::new();
    }
    let row = |node: &Value| {
        let mut what = word(&node["standing"]);
        if let Some(since) = node["absent_since"].as_str() {
            what.push_str(&format!(" since {}", utc(since)));
        }
        match (node["error"].as_str(), node["left"].as_u64()) {
            (Some(error), _) => what.push_str(&format!(": {error}")),
            (None, Some(left)) if left > 0 => what.push_str(&format!(", {left} to be put right")),
            _ => {}
        }
        for refused in list(&node["refused"]) {
            what.push_str(&format!("; {}", word(refused)));
        }
        if node["read_only"] == true {
            what.push_str("; lets nothing be changed: not `level admin`");
        }
        for backend in list(&node["lacks"]) {
            what.push_str(&format!("; has no backend {}", word(backend)));
        }
        vec![format!("  {}", word(&node["socket"])), word(&node["version"]), word(&node["pid"]), what]
    };
    let heading = ["  haproxy", "version", "pid", ""].map(String::from).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(nodes.iter().map(row)).collect();
    table(&rows)
}

fn backend_text(backend: &Value) -> String {
    let (figures, target) = (&backend["figures"], &backend["target"]);
    let mut text = format!(
        "\n{}: {} serving, {} spare; {} of {} is {}, target below {} ms\n",
        word(&backend["backend"]),
        word(&backend["serving"]),
        word(&backend["spare"]),
        word(&target["statistic"]),
        word(&target["timer"]),
        figures["latency_ms"].as_f64().map_or("not known".to_owned(), |ms| format!("{ms} ms")),
        word(&target["below_ms"]),
    );
    let queue =
        figures["queue_ms"].as_f64().map(|_| format!(", {} ms in the queue", word(&figures["queue_ms"])));
    text.push_str(&format!(
        "  in {}: {} requests, {}/s{}{}\n",
        span(&target["window_s"]),
        word(&figures["samples"]),
        word(&figures["rate"]),
        queue.unwrap_or_default(),
        failures(&figures["failures"]),
    ));
    text.push_str(&coverage(&backend["coverage"]));
    text.push_str(&format!("  {}: {}\n", word(&backend["decision"]), word(&backend["reason"])));
    let doubt = backend["doubt"].as_str().filter(|_| backend["doubt"] != backend["reason"]);
    if let Some(doubt) = doubt {
        text.push_str(&format!("  {doubt}\n"));
    }
    if let Some(refused) = backend["refused"].as_str() {
        text.push_str(&format!("  but: {refused}\n"));
    }
    if let Some(health) = backend["health"].as_str().filter(|&health| health != "good") {
        text.push_str(&format!("  health: {health}\n"));
    }
    if backend["cooldown_s"].as_f64().is_some_and(|left| left > 0.0) {
        text.push_str(&format!("  cooldown: {} left\n", span(&backend["cooldown_s"])));
    }
    text.push_str(&files::pool(&backend["pool_trouble"]));
    for unread in list(&backend["left_out"]) {
        text.push_str(&format!("  left out, {}\n", word(unread)));
    }
    text.push_str(&limits(&backend["limits"]));
    if let Some(order) = backend["override"]["order"].as_str() {
        text.push_str(&format!(
            "  an operator's order: {order} by {}{}\n",
            word(&backend["override"]["by"]),
            left(&backend["override"])
        ));
    }
    text.push_str(&under_way(backend));
    text.push_str(&table(&server_rows(backend, terminal_width())));
    text
}

/// `under way: s2, s3 to serve`; nothing if there is no plan.
fn under_way(backend: &Value) -> String {
    let who: Vec<String> = list(&backend["under_way"]).iter().map(word).collect();
    let who = who.join(", ");
    let what = match backend["moving"].as_str() {
        None => return String::new(),
        Some("add") => format!("{who} to serve"),
        Some("remove") => format!("{who} to MAINT"),
        Some("shut_down") => format!("sessions on {who} to be closed"),
        Some(_) => "weights to be set".to_owned(),
    };
    format!("  under way: {what}\n")
}

/// A heading, and a row for each server; with its address where addresses come from a pool, and there is room for it.
fn server_rows(backend: &Value, width: Option<usize>) -> Vec<Vec<String>> {
    let heading = ["  server", "state", "up", "weight", "sessions", "queued", "req/s", "p95 ms", ""];
    let mut rows = vec![heading.map(String::from).to_vec()];
    let servers = list(&backend["servers"]);
    rows.extend(servers.iter().map(server_row));
    if matches!(backend["spares"].as_str(), Some("slots" | "dynamic")) {
        let address = |server: &Value| match server["role"].as_str() {
            Some("vacant") => "-".to_owned(),
            _ => word(&server["address"]),
        };
        let addresses = std::iter::once("address".to_owned()).chain(servers.iter().map(address));
        let mut with_addresses = rows.clone();
        with_addresses.iter_mut().zip(addresses).for_each(|(row, address)| row.insert(1, address));
        // What is told of a server may go on below; its figures are not torn apart.
        let figures = with_addresses.iter().map(|row| row[..row.len() - 1].to_vec()).collect::<Vec<_>>();
        let needed = table(&figures).lines().map(|line| line.chars().count()).max().unwrap_or(0);
        if width.is_none_or(|width| needed <= width) {
            return with_addresses;
        }
    }
    rows
}

/// `, 4 min left`; nothing for what has no end.
fn left(order: &Value) -> String {
    if order["left_s"].is_null() { String::new() } else { format!(", {} left", span(&order["left_s"])) }
}

/// Who may serve by schedule; nothing where there is none.
fn limits(limits: &Value) -> String {
    let range = |limits: &Value| match limits["max"].as_u64() {
        Some(max) => format!("{} to {max}", word(&limits["min"])),
        None => format!("at least {}", word(&limits["min"])),
    };
    let entry = limits["schedule"].as_str().map(|entry| format!(" ({entry})"));
    let next = &limits["next"];
    let then = next["from"].as_str().map(|from| format!("; from {from} on {}", range(next)));
    if entry.is_none() && then.is_none() {
        return String::new();
    }
    format!("  may serve: {}{}{}\n", range(limits), entry.unwrap_or_default(), then.unwrap_or_default())
}

/// How much of what HAProxy counts the log tells of; nothing while that cannot be said.
fn coverage(found: &Value) -> String {
    let Some(ratio) = found["ratio"].as_f64() else { return String::new() };
    let hidden = "; a HAProxy does not answer, and its lines may stand for missing ones";
    format!(
        "  log: {} % of the {} requests that HAProxy counts in {}{}\n",
        (ratio * 100.0).floor(),
        word(&found["expected"]),
        span(&found["span_s"]),
        if found["whole"] == false { hidden } else { "" },
    )
}

/// `; failed: 3 by server, 12 by saturation`; nothing if none has failed.
fn failures(failures: &Value) -> String {
    let failed = failures.as_object().into_iter().flatten().filter(|(_, count)| count.as_u64() > Some(0));
    let failed: Vec<String> = failed.map(|(class, count)| format!("{count} by {class}")).collect();
    if failed.is_empty() { String::new() } else { format!("; failed: {}", failed.join(", ")) }
}

fn server_row(server: &Value) -> Vec<String> {
    let figures = &server["figures"];
    vec![
        format!("  {}", word(&server["server"])),
        word(&server["state"]),
        if server["up"] == true { "yes".into() } else { "no".into() },
        word(&server["weight"]),
        word(&server["sessions"]),
        word(&server["queued"]),
        word(&figures["rate"]),
        word(&figures["p95_ms"]),
        note(server),
    ]
}

/// What the figures do not say about a server.
fn note(server: &Value) -> String {
    let is_ready = server["state"] == "READY";
    let what = match server["doing"].as_str() {
        Some(doing) => Some(doing.to_owned()),
        None if is_ready && server["up"] == false => Some(down(server)),
        None if is_ready && server["weight"] == 0 => Some("weight 0: no new requests".to_owned()),
        None => None,
    };
    let role = role(server);
    match what {
        None => role,
        Some(what) if role.is_empty() => what,
        Some(what) => format!("{what}; {role}"),
    }
}

/// `DOWN by its check, not replaced: no spare can be started`.
fn down(server: &Value) -> String {
    match (server["stand_in"].as_str(), server["not_replaced"].as_str()) {
        (Some(stand_in), _) => format!("DOWN by its check; {stand_in} takes its place"),
        (None, Some(why)) => format!("DOWN by its check, not replaced: {why}"),
        (None, None) => "DOWN by its check".to_owned(),
    }
}

/// What the agent may do with it.
fn role(server: &Value) -> String {
    let is_ready = server["state"] == "READY";
    if server["left_alone_s"].is_u64() {
        let differs = if server["alike"] == false { "; differs between the haproxys" } else { "" };
        let left = span(&server["left_alone_s"]);
        return format!("changed by somebody else, left alone for {left}{differs}");
    }
    match (server["quarantine_s"].as_u64(), server["role"].as_str()) {
        (Some(_), _) => {
            format!("it failed to start, or stood out: passed over for {}", span(&server["quarantine_s"]))
        }
        _ if server["alike"] == false => "differs between the haproxys, left alone".to_owned(),
        (None, Some("spare")) if server["there"] == false => "spare, not added yet".to_owned(),
        // It is on its way to serve, or from there.
        (None, Some("spare")) if server["state"] != "MAINT" => String::new(),
        (None, Some("spare")) => "spare".to_owned(),
        (None, Some("vacant")) => "slot without an address".to_owned(),
        (None, Some("retired")) => "its address has left the pool".to_owned(),
        (None, Some("kept")) => "never taken away".to_owned(),
        _ if server["throttle_percent"].is_u64() => {
            format!("in HAProxy's slowstart: {} % of its weight", word(&server["throttle_percent"]))
        }
        (None, Some("foreign")) if !is_ready => "not ours, left alone".to_owned(),
        _ if is_ready && server["serving"] == false && server["up"] == true && server["weight"] != 0 => {
            "does not serve".to_owned()
        }
        _ => String::new(),
    }
}

/// One line for an entry of the journal.
pub(super) fn recent_row(entry: &Value) -> Vec<String> {
    let what = match entry["decision"].as_str() {
        Some("hold") => "hold".to_owned(),
        Some(decision) => format!("{decision} {} -> {}", word(&entry["from"]), word(&entry["to"])),
        None => [&entry["event"], &entry["server"]]
            .into_iter()
            .chain(list(&entry["servers"]))
            .filter_map(|value| value.as_str())
            .chain(entry["purpose"].as_str().filter(|_| entry["event"] == "called_off"))
            .collect::<Vec<_>>()
            .join(" "),
    };
    let what = if entry["dry_run"] == true { format!("dry run: {what}") } else { what };
    let why = ["refused", "reason", "error"].iter().find_map(|&key| entry[key].as_str()).unwrap_or_default();
    vec![format!("  {}", time(&word(&entry["time"]))), word(&entry["backend"]), what, why.to_owned()]
}

/// `2026-11-23 08:00:00`, UTC.
fn time(at: &str) -> String {
    let at = at.replace('T', " ");
    at.get(..19).unwrap_or(&at).to_owned()
}

/// `2026-11-23 08:00:00 UTC`: an operator who looks at a clock may mean another zone.
fn utc(at: &str) -> String {
    time(at) + " UTC"
}

/// What may have several lines.
fn indented(text: &str) -> String {
    text.replace('\n', "\n    ")
}

/// Seconds as people say them.
fn span(seconds: &Value) -> String {
    let seconds = seconds.as_f64().filter(|seconds| seconds.is_finite());
    let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.map_or("-".to_owned(), |span| Span(span).to_string())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as a person reads it; `-` for what is not known.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_known_is_a_dash_and_nothing_panics() {
        assert!(text(&Value::Null).contains("observes only"));
        let text =
            text(&json!({"backends": [{"backend": "app", "servers": [{"server": "s1"}]}], "recent": [{}]}));
        assert!(text.contains("app: - serving") && text.contains("has not answered yet"), "{text}");
    }

    #[track_caller]
    fn check_note(expected: &str, server: Value) {
        assert_eq!(note(&server), expected, "{server}");
    }

    #[test]
    fn a_server_is_noted_for_what_its_figures_do_not_say() {
        check_note("", json!({"state": "READY", "role": "serving", "serving": true}));
        check_note("spare", json!({"state": "MAINT", "role": "spare"}));
        check_note(
            "changed by somebody else, left alone for 29 min",
            json!({"state": "READY", "role": "kept", "serving": true, "left_alone_s": 1740}),
        );
        check_note(
            "in HAProxy's slowstart: 43 % of its weight",
            json!({"state": "READY", "role": "serving", "serving": true, "throttle_percent": 43}),
        );
        check_note(
            "changed by somebody else, left alone for 1 s; differs between the haproxys",
            json!({"state": "DRAIN", "left_alone_s": 1, "alike": false}),
        );
        check_note("spare, not added yet", json!({"state": "MAINT", "role": "spare", "there": false}));
        check_note("slot without an address", json!({"state": "MAINT", "role": "vacant"}));
        check_note("its address has left the pool", json!({"state": "DRAIN", "role": "retired"}));
        check_note("not ours, left alone", json!({"state": "MAINT", "role": "foreign"}));
        let down =
            |key: &str, value: &str| json!({"state": "READY", "role": "foreign", "up": false, key: value});
        check_note("DOWN by its check", down("serving", ""));
        check_note("DOWN by its check; s4 takes its place", down("stand_in", "s4"));
        check_note(
            "DOWN by its check, not replaced: no spare can be started",
            down("not_replaced", "no spare can be started"),
        );
        check_note("weight 0: no new requests", json!({"state": "READY", "up": true, "weight": 0}));
        check_note(
            "drains 3 sessions; MAINT in 7 s at most",
            json!({"state": "DRAIN", "role": "draining", "doing": "drains 3 sessions; MAINT in 7 s at most"}),
        );
        check_note(
            "2 sessions still open, closed in 3 s; spare",
            json!({"state": "MAINT", "role": "spare", "doing": "2 sessions still open, closed in 3 s"}),
        );
        check_note(
            "it failed to start, or stood out: passed over for 1 min 1 s",
            json!({"state": "MAINT", "role": "spare", "quarantine_s": 61}),
        );
    }

    #[test]
    fn addresses_are_shown_where_they_come_from_a_pool() {
        let servers = json!([
            {"server": "t1", "address": "10.0.0.4:80", "role": "serving"},
            {"server": "t2", "address": "127.0.0.1:1", "role": "vacant"},
        ]);
        let column = |spares: &str, width: Option<usize>| -> Vec<String> {
            let rows = server_rows(&json!({"spares": spares, "servers": servers}), width);
            rows.into_iter().map(|row| row[1].clone()).collect()
        };
        assert_eq!(column("slots", None), ["address", "10.0.0.4:80", "-"]);
        assert_eq!(column("slots", Some(80)), ["address", "10.0.0.4:80", "-"]);
        assert_eq!(column("slots", Some(70)), ["state", "-", "-"], "there is no room");
        assert_eq!(column("declared", None), ["state", "-", "-"]);
    }

    #[test]
    fn what_a_dry_run_decided_is_told_apart() {
        let entry = json!({"event": "serving", "server": "s2", "dry_run": true});
        assert_eq!(recent_row(&entry)[2], "dry run: serving s2");
    }

    #[test]
    fn a_haproxy_that_does_not_answer_is_told_with_since_when_and_why() {
        let absent = json!({"since": "2026-11-23T08:00:00.123Z", "error": "cannot connect"});
        let text = text(&json!({"haproxy": {"answers": false, "version": "2.6.12", "absent": absent}}));
        let expected = "  since 2026-11-23 08:00:00 UTC: cannot connect\n  what follows is how it was then\n";
        assert!(text.contains(expected), "{text}");
        assert!(super::text(&json!({"haproxy": {"absent": absent}})).contains("cannot connect\nlog: "));
    }

    #[test]
    fn of_several_haproxys_it_is_told_how_many_answer() {
        let since = "2026-11-23T08:00:00Z";
        let away = json!({"socket": "b.sock", "standing": "does not answer", "absent_since": since});
        let nodes = json!([{"socket": "a.sock", "standing": "in line", "answers": true}, away]);
        let text = text(&json!({"haproxy": {"answers": true, "version": "2.6.12", "nodes": nodes}}));
        assert!(text.contains("; 1 of 2 HAProxys answer\n"), "{text}");
        assert!(text.contains("does not answer since 2026-11-23 08:00:00 UTC\n"), "{text}");
    }

    #[test]
    fn what_is_under_way_is_told_with_its_servers() {
        let of = |moving: &str| under_way(&json!({"moving": moving, "under_way": ["s2", "s3"]}));
        assert_eq!(of("remove"), "  under way: s2, s3 to MAINT\n");
        assert_eq!(of("add"), "  under way: s2, s3 to serve\n");
        assert_eq!(under_way(&json!({"moving": null, "under_way": []})), "");
    }

    #[test]
    fn a_log_that_cannot_be_gone_by_is_told_beside_the_decision() {
        let status = json!({
            "lines": {"duplicate": 3},
            "backends": [{
                "decision": "hold", "reason": "cooling down for 3 s", "doubt": "only 62 % of it",
                "coverage": {"ratio": 0.629, "expected": 1204, "span_s": 30.0},
            }],
        });
        let text = text(&status);
        assert!(text.contains(", 3 told twice\n"), "{text}");
        assert!(text.contains("  log: 62 % of the 1204 requests that HAProxy counts in 30 s\n"), "{text}");
        assert!(text.contains("  only 62 % of it\n"), "{text}");
    }

    #[test]
    fn failures_are_told_by_class_and_not_at_all_where_there_are_none() {
        assert_eq!(
            failures(&json!({"server": 3, "saturation": 0, "proxy": 1})),
            "; failed: 3 by server, 1 by proxy"
        );
        assert_eq!(failures(&json!({"server": 0})), "");
    }
}
