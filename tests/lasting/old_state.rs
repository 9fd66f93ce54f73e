//! A state file of the operator's that is from the middle of a ramp, and is read at every restart of HAProxy.

use std::fs;
use std::process::Stdio;

use super::site::{As, LOADED, Site};
use super::support::haproxy::standing;
use super::support::{Agent, PATIENCE, wait_until};

const OWN: [&str; 3] = ["s1 READY 10", "s2 READY 10", "s3 MAINT 10"];

/// HAProxy after a ramp of s2's, its agent, and what `show servers state` said in the middle of it.
fn ramped() -> Option<(Site, Agent, String)> {
    let mut site = Site::start(As::Master, LOADED.0, LOADED.1)?;
    site.keys = "    warm_up: { ramp: 6s }\n".to_owned();
    let agent = site.agent("");
    agent.pin(2);
    let mut text = String::new();
    wait_until("s2's weight rises", PATIENCE, || {
        text = site.ask("show servers state app");
        let rows = standing(&text, "app", |row| row[7].to_owned());
        let rises = !["READY 10", "READY 100"].contains(&rows["s2"].as_str());
        rows["s1"] == "READY 100" && rows["s2"].starts_with("READY ") && rises
    });
    site.wait_for(OWN);
    wait_until("it is written down that the ramp is over", PATIENCE, || owes_nothing(&agent));
    Some((site, agent, text))
}

impl Site {
    /// HAProxy is ended, and started with this state file.
    fn restart_with(&mut self, text: &str) {
        fs::write(self.path("servers.state"), text).unwrap();
        self.end();
        self.launch();
    }
}

fn owes_nothing(agent: &Agent) -> bool {
    let text = fs::read_to_string(agent.dir().join("state/state.json")).unwrap_or_default();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let owed = state["backends"]["app"]["weights"].as_object();
    owed.is_some_and(serde_json::Map::is_empty)
}

fn told(agent: &Agent) -> usize {
    let journal = agent.journal();
    let told = journal.iter().filter(|entry| entry["event"] == "weights_brought_back");
    told.filter(|entry| entry["reason"].as_str().unwrap().starts_with("s1 from 100 to 10, s2 from ")).count()
}

#[test]
fn weights_from_the_middle_of_a_ramp_are_put_right_after_every_restart() {
    let Some((mut site, agent, text)) = ramped() else { return };
    for times in 1..=2 {
        site.restart_with(&text);
        wait_until("it is told", PATIENCE, || told(&agent) == times);
        site.wait_for(OWN);
        wait_until("it is done", PATIENCE, || owes_nothing(&agent));
    }
}

#[test]
fn weights_from_the_middle_of_a_ramp_are_put_right_by_another_agent_too() {
    let Some((mut site, agent, text)) = ramped() else { return };
    let dir = agent.into_dir().unwrap();
    site.restart_with(&text);
    assert_eq!(site.servers()[0], "s1 READY 100");
    let agent = Agent::start_in(dir, &site.config(""), &[&site.log()], Stdio::null());
    wait_until("it is told", PATIENCE, || told(&agent) == 1);
    site.wait_for(OWN);
}

/// It has been set, and written down, while no agent ran.
#[test]
fn a_weight_that_may_be_an_operators_is_left_alone_and_told() {
    let Some((mut site, agent, _)) = ramped() else { return };
    let dir = agent.into_dir().unwrap();
    site.ask("set server app/s1 weight 100");
    let text = site.ask("show servers state app");
    site.restart_with(&text);
    let agent = Agent::start_in(dir, &site.config(""), &[&site.log()], Stdio::null());
    let words = "weight 10 to 100, by somebody, or by an old state file";
    wait_until("it is told", PATIENCE, || agent.journal_says("reason", words));
    wait_until("it is left alone", PATIENCE, || !agent.server("s1")["left_alone_s"].is_null());
    assert_eq!(site.servers(), ["s1 READY 100", "s2 READY 10", "s3 MAINT 10"]);
}
